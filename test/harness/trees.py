"""One request a line on standard input, one answer a line: [what, arguments…] -> [true, result] or [false, error]."""
import json
import os
import sys

from tree_make import change, deep, nasty
from tree_walk import walk


def forget(directory):
    """Removes a tree of any depth, by descriptors."""
    for parent, inner, files, fd in os.fwalk(directory, topdown=False):
        for name in files:
            os.unlink(name, dir_fd=fd)
        for name in inner:
            os.rmdir(name, dir_fd=fd) if not _is_link(name, fd) else os.unlink(name, dir_fd=fd)
    os.rmdir(directory)


def _is_link(name, fd):
    return (os.lstat(name, dir_fd=fd).st_mode & 0o170000) == 0o120000


ACTS = {'walk': walk, 'nasty': nasty, 'deep': deep, 'change': change, 'forget': forget}
sys.setrecursionlimit(10_000)
for line in sys.stdin:
    what, *arguments = json.loads(line)
    try:
        answer = [True, ACTS[what](*arguments)]
    except Exception as error:
        answer = [False, repr(error)]
    print(json.dumps(answer), flush=True)
