"""Where workers run, and the launch that starts them."""

from nnstudy.engines.launch import LaunchResult, launch
from nnstudy.engines.options import LaunchOptions

__all__ = ["LaunchOptions", "LaunchResult", "launch"]
