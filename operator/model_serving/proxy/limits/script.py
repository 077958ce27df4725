"""The common store's side of `ledger.py`: one script that Valkey or Redis runs as a whole. Sent by `limits_store.py`.

A counter is a hash: second → amount. An entry counts as in `window.py`, until 60 whole seconds after its own. Time is
the server's, made safe: it never runs back, and when it runs ahead of what a proxy's own clock allows, the jump is
taken out. The clock's hash also tells whose data this is: another run of the server (or an emptied one) may have
forgotten what was granted, and grants nothing until a whole window has passed.
"""

SCRIPT = """
local W = tonumber(ARGV[1])
local lease = tonumber(ARGV[2])
local parts = tonumber(ARGV[3])
local latest = tonumber(ARGV[4])
local run, fresh = ARGV[5], ARGV[6]
local TOLERANCE = 1000
local function whole(x) return string.format('%.0f', x) end

local now = redis.call('TIME')
local raw = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local clock = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'skew', 'last', 'opens')
local epoch, skew, last = clock[2], tonumber(clock[3] or '0'), tonumber(clock[4] or '0')
local opens = tonumber(clock[5] or '0')
local t = raw - skew
if latest >= 0 and t > latest + TOLERANCE then t = latest end
if t < last then t = last end
if not epoch or clock[1] ~= run then
  epoch = fresh
  opens = t + (W + 1) * 1000 + lease
end
redis.call('HSET', KEYS[1], 'run', run, 'epoch', epoch, 'skew', whole(raw - t), 'last', whole(t), 'opens', whole(opens))
redis.call('PEXPIRE', KEYS[1], 86400000)

local second = math.floor(t / 1000)
local granting = t >= opens
local reply = {epoch, granting and 0 or opens - t, t, second}
local arg = 7

local function read(key)
  local entries, total = {}, 0
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local step, amount = tonumber(flat[i]), tonumber(flat[i + 1])
    if step < second - W or amount <= 0 then
      redis.call('HDEL', key, flat[i])
    else
      entries[step] = amount
      total = total + amount
    end
  end
  return entries, total
end

local function wait_for(entries, excess)
  local steps = {}
  for step in pairs(entries) do steps[#steps + 1] = step end
  table.sort(steps)
  for _, step in ipairs(steps) do
    excess = excess - entries[step]
    if excess <= 0 then return math.max((step + W + 1) * 1000 - t, 1) end
  end
  return (W + 1) * 1000
end

for k = 2, #KEYS do
  local key = KEYS[k]
  local n, charge = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  local need, least = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  local want, returns = tonumber(ARGV[arg + 4]), tonumber(ARGV[arg + 5])
  arg = arg + 6
  local entries, total = read(key)
  local function add(step, amount)
    entries[step] = (entries[step] or 0) + amount
    total = total + amount
    redis.call('HINCRBY', key, whole(step), whole(amount))
  end
  for _ = 1, returns do
    local step, amount = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
    arg = arg + 2
    amount = math.min(amount, entries[step] or 0)
    if amount > 0 then add(step, -amount) end
  end
  if charge > 0 then add(second, charge) end
  local granted, wait, ends = 0, 0, math.floor((t + lease) / 1000)
  local room = n - total
  if granting and need + want > 0 then
    if room > 0 and (need == 0 or room >= least) then
      granted = math.min(room, need)
      local extra = math.min(want, math.floor((room - granted) / (2 * parts)))
      if extra >= least then granted = granted + extra end
      if granted > 0 then add(ends, granted) end
    end
    if granted < need then wait = wait_for(entries, total + least - n) end
  end
  redis.call('PEXPIRE', key, (W + 2) * 1000 + lease)
  reply[#reply + 1] = granted
  reply[#reply + 1] = ends
  reply[#reply + 1] = total
  reply[#reply + 1] = wait
end
return reply
"""
