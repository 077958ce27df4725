"""Rate limits. What the pipeline needs of them; each part says in its module what it is for."""

from model_serving.proxy.limits.limiter import Asking, Limiter
from model_serving.proxy.limits.reservation import Reservation
from model_serving.proxy.limits.rules import Rules

__all__ = ["Asking", "Limiter", "Reservation", "Rules"]
