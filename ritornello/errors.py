"""The errors a user may meet. Each is one clear sentence; the command line prints it and exits with code 2."""


class RitornelloError(Exception):
    """Something the user can mend: the message names the file, the value, what was expected and what to do."""


class MusicError(RitornelloError):
    """A file that is not music we can read, or music that a representation cannot hold."""


class ConfigError(RitornelloError):
    """A setting that is unknown or out of range."""


class ListeningError(RitornelloError):
    """A listening test that cannot be made, opened or counted."""
