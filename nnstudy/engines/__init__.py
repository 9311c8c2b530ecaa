"""Where workers run, and the launch that starts them."""

from nnstudy.engines.launch import LaunchResult, launch
from nnstudy.engines.options import LaunchOptions
from nnstudy.search.settings import Settings

__all__ = ["LaunchOptions", "LaunchResult", "Settings", "launch"]
