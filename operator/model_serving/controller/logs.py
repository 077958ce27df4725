"""How the operator logs: plain text or one JSON object per line, never with the content of an object."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from model_serving.controller.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Sends everything to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if settings.log_format == "json" else _PlainLines())
    handler.addFilter(redact)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # Kopf praises each handler call that did not fail.
    if settings.log_level != "DEBUG":
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    # What aiohttp has to say at lower levels is about sockets.
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


def redact(record: logging.LogRecord) -> bool:
    """Kopf logs whole objects and patches at the lower levels: they are cut off, whatever they hold."""
    if record.name.startswith("kopf") and record.levelno < logging.WARNING:
        text = record.getMessage()
        cut = min((i for i in (text.find("{"), text.find("(("), text.find("[{")) if i >= 0), default=-1)
        if cut >= 0:
            record.msg, record.args = f"{text[:cut]}…", ()
    return True


class _PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f"{time} {record.levelname:<7} {record.name}: {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
