"""Tells all of a tree without any code of the product: names in any bytes, at any depth, by descriptors alone.

As root every attribute is seen, security and trusted ones too. Contents are hashed by their blocks that are not zero, so two
files with the same bytes and other holes have the same hash; what is allocated is told beside it.
"""
import hashlib
import os
import stat

BLOCK = 4096
ZERO = bytes(BLOCK)
READ = 1 << 20
KINDS = {
    stat.S_IFREG: 'file', stat.S_IFDIR: 'directory', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo',
    stat.S_IFCHR: 'character', stat.S_IFBLK: 'block', stat.S_IFSOCK: 'socket',
}


def walk(path):
    """A dictionary: path below the tree (latin1, a character a byte; '' is the root) to what is known of it."""
    found = {}
    names = {}
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _directory(root, b'', found, names)
    finally:
        os.close(root)
    # Names of one file: the first of them in order, told of each.
    for group in names.values():
        if len(group) > 1:
            for name in group:
                found[name]['sameAs'] = min(group)
    return found


def _directory(fd, path, found, names):
    found[path.decode('latin1')] = {**_status(os.fstat(fd)), 'attributes': _attributes(fd)}
    with os.scandir(fd) as entries:
        children = sorted(os.fsencode(entry.name) for entry in entries)
    for name in children:
        child = path + b'/' + name if path else name
        status = os.lstat(name, dir_fd=fd)
        if stat.S_ISDIR(status.st_mode):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                _directory(inner, child, found, names)
            finally:
                os.close(inner)
            continue
        text = child.decode('latin1')
        names.setdefault((status.st_dev, status.st_ino), []).append(text)
        found[text] = _leaf(fd, name, status)


def _leaf(parent, name, status):
    known = _status(status)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
        try:
            known.update(size=status.st_size, allocated=status.st_blocks * 512, hash=_content(fd, status.st_size))
            known['attributes'] = _attributes(fd)
        finally:
            os.close(fd)
        return known
    if kind == stat.S_IFLNK:
        known['target'] = os.readlink(name, dir_fd=parent).decode('latin1')
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        known['device'] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    known['attributes'] = _attributes(b'/proc/self/fd/%d/' % parent + name)
    return known


def _status(status):
    return {
        'kind': KINDS[stat.S_IFMT(status.st_mode)], 'mode': '%o' % stat.S_IMODE(status.st_mode),
        'uid': status.st_uid, 'gid': status.st_gid, 'mtimeNs': str(status.st_mtime_ns),
    }


def _attributes(where):
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError:
        return {}
    return {
        os.fsencode(name).decode('latin1'): os.getxattr(where, name, follow_symlinks=follow).hex()
        for name in sorted(names)
    }


def _content(fd, size):
    digest = hashlib.sha256(b'%d' % size)
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
        # Blocks are counted from the beginning of the file, wherever its data begin.
        at -= at % BLOCK
        while at < end:
            data = os.pread(fd, min(READ, end - at), at)
            if not data:
                return 'shrunk'
            _blocks(digest, data, at)
            at += len(data)
    return digest.hexdigest()


def _blocks(digest, data, at):
    for start in range(0, len(data), BLOCK):
        block = data[start:start + BLOCK]
        if block != ZERO[:len(block)]:
            digest.update(b'%d:' % (at + start))
            digest.update(block)
