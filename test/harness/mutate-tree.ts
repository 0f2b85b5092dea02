import { execFileSync } from 'node:child_process'

/** Random changes to a tree, of every kind a file system knows, by Python: none of our code. Run as root. */
const MUTATE = String.raw`
import ctypes, os, random, shutil, stat, sys
root, seed, steps = os.fsencode(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.chdir(root)
r = random.Random(seed)
libc = ctypes.CDLL(None, use_errno=True)
NAMES = [b'a', b'b', b'c', b'a-', b'a.b', b'\xff\xfe', '\u00e9'.encode(), b'o257-7-0', b'new\nline', b'n' * 200]
def everything(want):
    found = []
    for d, ds, fs in os.walk(b'.'):
        found += [os.path.join(d, n) for n in ds + fs if want(os.lstat(os.path.join(d, n)).st_mode)]
    return sorted(found)
isdir, isfile = stat.S_ISDIR, stat.S_ISREG
def anything(): return r.choice(everything(lambda m: True) or [b'./a'])
def file(): return r.choice(everything(isfile) or [b'./a'])
def directory(): return r.choice([b'.'] + everything(isdir))
def free(): return os.path.join(directory(), r.choice(NAMES))
def write(p, n):
    if os.path.lexists(p) and not isfile(os.lstat(p).st_mode): return
    with open(p, 'r+b' if os.path.exists(p) and r.random() < .5 else 'wb') as f:
        f.write(r.randbytes(n) if n < 9000 else bytes([r.randrange(256)]) * n)
def remove(p): shutil.rmtree(p) if isdir(os.lstat(p).st_mode) else os.unlink(p)
def over():
    a, b = anything(), anything()
    if os.path.lexists(b) and isdir(os.lstat(a).st_mode) != isdir(os.lstat(b).st_mode): remove(b)
    os.rename(a, b)
def swap():
    if libc.renameat2(-100, anything(), -100, anything(), 2) != 0: raise OSError(ctypes.get_errno(), 'swap')
def keeptime():
    p = file(); s = os.stat(p); write(p, s.st_size); os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))
def several():
    with_links = [p for p in everything(isfile) if os.lstat(p).st_nlink > 1]
    if with_links: os.unlink(r.choice(with_links))
def hole():
    p = file(); size = os.stat(p).st_size; fd = os.open(p, os.O_RDWR)
    libc.fallocate(fd, 3, ctypes.c_long(r.randrange(size + 1)), ctypes.c_long(8192)); os.close(fd)
def kind():
    p = anything(); d = isdir(os.lstat(p).st_mode); remove(p)
    write(p, 50) if d else os.mkdir(p)
    if not d: write(os.path.join(p, b'inside'), 10)
def again():
    p = anything(); d = isdir(os.lstat(p).st_mode); remove(p); os.mkdir(p) if d else write(p, 20)
def deep():
    p = free(); os.makedirs(os.path.join(p, r.choice(NAMES))); write(os.path.join(p, b'f'), 30)
acts = [lambda: write(free(), r.choice([0, 0, 10, 5000, 300000])), lambda: write(file(), r.choice([0, 7, 4097])), lambda: os.mkdir(free()), deep, deep,
  lambda: remove(anything()), lambda: os.unlink(file()), lambda: os.rename(anything(), free()), lambda: os.rename(directory(), free()), over, swap, swap,
  lambda: os.link(file(), free()), lambda: os.link(file(), free()), several, several, lambda: os.chmod(anything(), r.randrange(0o1000) | 0o400),
  lambda: os.lchown(anything(), r.randrange(70000), r.randrange(70000)), lambda: os.setxattr(anything(), 'user.x', r.randbytes(r.choice([0, 9, 2000])), follow_symlinks=False),
  lambda: os.removexattr(anything(), 'user.x'), lambda: os.truncate(file(), r.choice([0, 100, 1 << 20])), hole, keeptime, keeptime, kind, again,
  lambda: os.symlink(r.choice(NAMES), free()), lambda: os.mkfifo(free()), lambda: os.mknod(free(), 0o600 | stat.S_IFCHR, os.makedev(250, r.randrange(9))),
  lambda: os.utime(directory(), ns=(1, r.randrange(10**18))), lambda: os.chmod('.', r.randrange(0o1000) | 0o500)]
for _ in range(steps):
    try: r.choice(acts)()
    except (OSError, shutil.Error): pass
`

export function mutateTree(directory: string, seed: number, steps: number): void {
  execFileSync('/usr/bin/python3', ['-c', MUTATE, directory, String(seed), String(steps)], { stdio: 'pipe' })
}

/** Everything that can be asked of every path of a tree, read by Python; JSON of hex paths. */
const INSPECT = `
import hashlib, json, os, stat, sys
os.chdir(sys.argv[1])
told = {}
for d, ds, fs in os.walk(b'.'):
    for p in ([b'.'] if d == b'.' else []) + [os.path.join(d, n) for n in ds + fs]:
        s = os.lstat(p)
        t = [s.st_ino, s.st_mode, 0 if stat.S_ISDIR(s.st_mode) else s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_rdev]
        if stat.S_ISLNK(s.st_mode): t.append(os.readlink(p).hex())
        if stat.S_ISREG(s.st_mode): t.append(hashlib.sha256(open(p, 'rb').read()).hexdigest())
        t.append(sorted((n, os.getxattr(p, n, follow_symlinks=False).hex()) for n in os.listxattr(p, follow_symlinks=False)))
        told[('' if p == b'.' else p[2:].hex())] = json.dumps(t)
print(json.dumps(told))
`

/** Path (one character a byte, the root '') → all that can be told of it, ctime among it. */
export function inspectTree(directory: string): ReadonlyMap<string, string> {
  const told = execFileSync('/usr/bin/python3', ['-c', INSPECT, directory], { maxBuffer: 2 ** 28 }).toString()
  // as: our own script, above
  const lines = JSON.parse(told) as Record<string, string>
  return new Map(Object.entries(lines).map(([hex, text]) => [Buffer.from(hex, 'hex').toString('latin1'), text]))
}
