"""Makes trees that hold what an archiver may trip over, and changes them. As root, on a file system with attributes."""
import os
import random
import shutil
import socket
import struct

DAY = 86_400
#: A tree's deepest names: longer than any path that a system call takes (4,096 bytes).
DEEP_LEVELS = 25
DEEP_NAME = b'deep-' + b'x' * 195


def nasty(directory, outside):
    """Everything at once. `outside` gets a second name of a file of the tree."""
    os.makedirs(directory)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    home = os.getcwd()
    try:
        os.fchdir(root)
        _names()
        _links(outside)
        _holes()
        _special()
        _attributes()
        _many()
        _times()
    finally:
        os.chdir(home)
        os.close(root)


def _write(name, content=b'x'):
    with open(name, 'wb') as file:
        file.write(content)


def _names():
    _write(b'empty', b'')
    for name in (b'new\nline', b'tab\there', b'back\\slash', b'-rf', b'--checkpoint-action=exec=sh', b' leading', b'trailing ',
                 b'quote"\'', b'*', b'inv\xff\xfealid', '\u00fcn\u00ef\u4e2d'.encode(), b'a.b', b'a-b', b'\x01\x7f', b'=', b'%3D', b'@x'):
        _write(name, b'content of ' + name)
    os.mkdir('a')
    _write('a/x')
    os.makedirs('d/e/f')
    os.mkdir('emptydir')
    for number, name in enumerate((b'n' * 255, b'\xff' * 255, b'\n' * 255, b'-' * 100, b'p' * 99, b'p' * 101)):
        _write(b'd/' + name, b'long %d' % number)
    _write('big', os.urandom(9 << 20))
    _write('round', os.urandom(1 << 20))
    _write('block', os.urandom(512))
    _write('less', os.urandom(511))


def _links(outside):
    os.link('big', 'd/big2')
    os.link('big', 'd/e/f/big3')
    os.link('empty', 'd/empty2')
    _write('shared')
    os.link('shared', outside)
    for text, name in (('big', 'sym'), ('/etc/passwd', 'abs'), ('../../x', 'dangling'), ('t' * 300, 'longsym'),
                       (b'\xff' * 120, b'badsym'), ('.', 'd/self'), ('\n', 'newlinesym'), ('d', 'symdir')):
        os.symlink(text, name)
    os.link('sym', 'hardsym', follow_symlinks=False)


def _holes():
    with open('sparse', 'wb') as file:
        file.truncate(5 << 30)
        for at, content in ((1 << 20, b'mid' * 5_000), (3 << 30, b'far'), ((5 << 30) - 3, b'end')):
            file.seek(at)
            file.write(content)
    for name, size, pieces in (('holestart', 1 << 20, ((1 << 20) - 5,)), ('holemiddle', 1 << 20, (0, (1 << 20) - 9)),
                               ('holeend', 1 << 20, (0,)), ('allhole', (1 << 20) + 7, ()), ('odd', 300_001, (70_003,)),
                               (b'sp\xffarse', 1 << 20, (500_000,)), ('many', 4 << 20, range(0, 4 << 20, 16_384))):
        with open(name, 'wb') as file:
            file.truncate(size)
            for at in pieces:
                file.seek(at)
                file.write(b'data!')
    os.link('holeend', 'd/holeend2')


def _special():
    os.mkfifo('fifo')
    os.link('fifo', 'd/fifo2')
    os.mknod('char', 0o600 | 0o020000, os.makedev(1, 3))
    os.mknod('blockdevice', 0o600 | 0o060000, os.makedev(259, 300_000))
    with socket.socket(socket.AF_UNIX) as made:
        made.bind('socket')


def _attributes():
    _write('attributed', b'hello')
    os.setxattr('attributed', 'user.a', b'\x00\xff v\n')
    os.setxattr('attributed', 'user.empty', b'')
    os.setxattr('attributed', 'user.key=with%3Dequals', b'=')
    os.setxattr('attributed', 'user.long', bytes(range(256)) * 10)
    os.setxattr('attributed', 'trusted.t', b'root only')
    os.setxattr('attributed', 'security.other', b's')
    os.setxattr('d', 'user.dir', b'1')
    for name in ('sym', 'fifo', 'char'):
        os.setxattr(name, 'trusted.t', b'z', follow_symlinks=False)
    _write('capable')
    os.chmod('capable', 0o755)
    os.setxattr('capable', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
    _acl('attributed', 'access', [(1, 6, -1), (2, 4, 1234), (2, 7, 70_000), (4, 4, -1), (8, 5, 77), (16, 6, -1), (32, 0, -1)])
    _write('masked')
    _acl('masked', 'access', [(1, 7, -1), (2, 7, 5), (4, 7, -1), (16, 0, -1), (32, 4, -1)])
    _acl('d/e', 'default', [(1, 7, -1), (2, 7, 99), (4, 5, -1), (16, 7, -1), (32, 5, -1)])
    # Made before the default was set, and after it: only the second has inherited.
    os.mkdir('d/e/g')
    _write('d/e/inherits')
    for name, mode in (('suid', 0o4755), ('sgid', 0o2711), ('none', 0), ('all', 0o7777)):
        _write(name)
        os.chown(name, 12_345, 54_321)
        os.chmod(name, mode)
    os.chmod('emptydir', 0o1777)
    os.chmod('a', 0o2750)
    os.lchown('abs', 5, 6)
    os.chown('a-b', 3_000_000, 4_000_000_000)


def _acl(name, which, entries):
    value = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', tag, bits, who & 0xffffffff) for tag, bits, who in entries)
    os.setxattr(name, 'system.posix_acl_' + which, value)


def _many():
    os.mkdir('many-names')
    for number in range(10_000):
        os.close(os.open('many-names/%d' % number, os.O_WRONLY | os.O_CREAT, 0o644))


def _times():
    for name, when in (('less', -1), ('block', -(60 * 365 * DAY * 10**9) + 1), ('round', 1), ('odd', 4_291_747_200 * 10**9 + 7),
                       ('a/x', 7_258_118_400 * 10**9 + 999_999_999), ('emptydir', -1_500_000_000), ('fifo', 10**18 + 1),
                       ('sym', 915_148_800_500_000_000), ('d', 981_173_106_000_000_007), ('empty', 0), ('.', 10**18 + 3)):
        os.utime(name, ns=(when, when), follow_symlinks=False)


def deep(directory):
    """Directories below each other until no system call takes the path, with links and other things at the bottom."""
    os.makedirs(directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(DEEP_LEVELS):
        os.mkdir(DEEP_NAME, dir_fd=fd)
        inner = os.open(DEEP_NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.utime(fd, ns=(0, level))
        os.close(fd)
        fd = inner
    made = os.open(b'deep', os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd)
    os.write(made, b'deep')
    os.close(made)
    os.link(b'deep', b'deep2', src_dir_fd=fd, dst_dir_fd=fd)
    os.symlink(b'deep', b'deepsym', dir_fd=fd)
    os.mkfifo(b'deepfifo', dir_fd=fd)
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    os.link(b'deep', b'top', src_dir_fd=fd, dst_dir_fd=top)
    os.utime(top, ns=(0, 7))
    os.close(top)
    os.close(fd)


def change(directory, seed):
    """Makes or changes a small tree at random, the same for the same seed and the same tree."""
    chance = random.Random(seed)
    os.makedirs(directory, exist_ok=True)
    for _ in range(chance.randint(12, 28)):
        try:
            chance.choice(_CHANGES)(directory, chance)
        except OSError:
            pass  # a name that is a directory, or none: the next change is another


_NAMES = ('a', 'b', 'a-', 'a.b', 'A', 'é', 'new\nline', os.fsdecode(b'\xff\xfe'), 'l' * 130)


def _place(directory, chance):
    return os.path.join(directory, *[chance.choice(_NAMES) for _ in range(chance.randint(1, 4))])


def _existing(directory, chance):
    known = sorted(os.path.join(parent, name) for parent, inner, files in os.walk(directory) for name in inner + files)
    return chance.choice(known) if known else directory


def _at_once(path, flags):
    """A fifo without a reader is an error instead of a wait."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _file(directory, chance):
    path = _place(directory, chance)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb', opener=_at_once) as file:
        if chance.random() < 0.2:
            file.seek(chance.randint(0, 200_000))
        file.write(chance.randbytes(chance.choice((0, 1, 511, 512, 513, 40_000))))
        if chance.random() < 0.2:
            file.truncate(chance.randint(0, 400_000))


def _edit(directory, chance):
    with open(_existing(directory, chance), 'r+b', opener=_at_once) as file:
        file.seek(chance.randint(0, 1_000))
        file.write(chance.randbytes(chance.randint(1, 600)))


def _remove(directory, chance):
    path = _existing(directory, chance)
    if path == directory:
        return
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _move(directory, chance):
    os.rename(_existing(directory, chance), _place(directory, chance))


def _link(directory, chance):
    os.link(_existing(directory, chance), _place(directory, chance), follow_symlinks=False)


def _other(directory, chance):
    path = _place(directory, chance)
    chance.choice((os.mkfifo, os.mkdir, lambda at: os.symlink(chance.choice(_NAMES), at)))(path)


def _retouch(directory, chance):
    path = _existing(directory, chance)
    what = chance.randint(0, 4)
    if what == 0:
        os.utime(path, ns=(0, chance.randint(-2**60, 2**60)), follow_symlinks=False)
    elif os.path.islink(path):
        os.lchown(path, chance.randint(0, 9), 0)
    elif what == 1:
        os.chmod(path, chance.randint(0, 0o7777))
    elif what == 2:
        os.chown(path, chance.randint(0, 70_000), chance.randint(0, 3_000_000))
    elif what == 3:
        os.setxattr(path, 'user.' + chance.choice('abc'), chance.randbytes(chance.randint(0, 50)))
    else:
        for name in os.listxattr(path):
            os.removexattr(path, name)


_CHANGES = (_file, _file, _file, _edit, _edit, _remove, _move, _link, _link, _other, _retouch, _retouch)
