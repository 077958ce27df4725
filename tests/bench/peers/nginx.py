"""nginx: passes everything through. The reference of all ratios."""

from __future__ import annotations

from pathlib import Path

from tests.bench import cache
from tests.bench.peers.base import Peer, Place

_CONFIG = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_buffer_size 64k; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k;
    }}
  }}
}}
"""


def _command(program: Path, place: Place) -> list[str]:
    config = place.folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=place.folder, port=place.port, provider=place.provider))
    return [str(program), "-p", str(place.folder), "-c", str(config), "-e", str(place.folder / "error.log")]


NGINX = Peer("nginx", "passes everything through", cache.nginx, _command)
