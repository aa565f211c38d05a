"""Signals after `import jittor`.

Jittor's core takes over SIGINT and SIGCHLD when it is imported: Ctrl-C, or the end of any child process by a signal, then
ends this process at once, with nothing saved and no `finally` run.
"""

import signal
import threading


def restore_signals():
    """Gives SIGINT and SIGCHLD back to Python: Ctrl-C raises KeyboardInterrupt, a child that ends is nobody's business.

    Call it after Jittor has been imported. Does nothing outside the main thread, where Python cannot set handlers.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
