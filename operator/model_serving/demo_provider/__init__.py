"""A small OpenAI-compatible upstream for trying things out; `model-serving demo-provider` and `run` start it.

It echoes, streams, counts tokens and embeds without any model, and it fails, stalls, cuts or babbles on request
(`wishes.py`). It is for samples and tests: nothing in production calls it.
"""

from model_serving.demo_provider.server import DemoSettings, run_demo_provider

__all__ = ["DemoSettings", "run_demo_provider"]
