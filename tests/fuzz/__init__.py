"""Fuzzing of the HTTP layer: `python -m tests.fuzz --cases N --seed S`, or `make fuzz CASES=N`.

Mutated requests, answers and whole calls go through the real protocols over transports that only record. What comes
out is compared with two readers: h11 (`reference.py`) and a strict one of our own (`oracle.py`).
"""
