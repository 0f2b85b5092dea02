import koffi from 'koffi'

/** A NUL-terminated byte string: a Buffer that ends in NUL, or the address of one that its owner keeps alive. */
export type CString = Buffer | number

type Call<Arguments extends readonly (CString | number | null)[]> = ((...args: Arguments) => number) & {
  async(...args: [...Arguments, (error: Error | null, result: number) => void]): void
}
type Fd = number

/** Argument layouts are those of glibc's headers on 64-bit Linux; `long` carries size_t, off_t, dev_t and ssize_t. */
function loadLibc() {
  // The sync stack and heap are committed once a process; nothing here passes more than a page by value.
  koffi.config({ ...koffi.config(), sync_stack_size: 262_144, sync_heap_size: 65_536, resident_async_pools: 2 })
  const library = koffi.load(null)
  function declare<Arguments extends readonly (CString | number | null)[]>(name: string, ...types: readonly string[]) {
    const [result = 'int', ...parameters] = types
    // The declaration beside each name is the type: koffi itself offers only `any`.
    return library.func(name, result, parameters) as Call<Arguments>
  }
  return {
    /** Every argument must be a number or a pointer wide enough for a register; used for openat2 alone. */
    syscallOpen: declare<[number, Fd, CString, Buffer, number]>(
      'syscall',
      'long',
      'long',
      'long',
      'void *',
      'void *',
      'long',
    ),
    syscallOpenTree: declare<[number, Fd, CString, number]>('syscall', 'long', 'long', 'long', 'void *', 'long'),
    syscallFsopen: declare<[number, CString, number]>('syscall', 'long', 'long', 'void *', 'long'),
    syscallFsconfig: declare<[number, Fd, number, CString | null, CString | null, number]>(
      'syscall',
      'long',
      'long',
      'long',
      'long',
      'void *',
      'void *',
      'long',
    ),
    syscallFsmount: declare<[number, Fd, number, number]>('syscall', 'long', 'long', 'long', 'long', 'long'),
    openat: declare<[Fd, CString, number, number]>('openat', 'int', 'int', 'void *', 'int', 'int'),
    close: declare<[Fd]>('close', 'int', 'int'),
    mkdirat: declare<[Fd, CString, number]>('mkdirat', 'int', 'int', 'void *', 'int'),
    unlinkat: declare<[Fd, CString, number]>('unlinkat', 'int', 'int', 'void *', 'int'),
    renameat2: declare<[Fd, CString, Fd, CString, number]>('renameat2', 'int', 'int', 'void *', 'int', 'void *', 'int'),
    linkat: declare<[Fd, CString, Fd, CString, number]>('linkat', 'int', 'int', 'void *', 'int', 'void *', 'int'),
    symlinkat: declare<[CString, Fd, CString]>('symlinkat', 'int', 'void *', 'int', 'void *'),
    readlinkat: declare<[Fd, CString, Buffer, number]>('readlinkat', 'long', 'int', 'void *', 'void *', 'long'),
    mknodat: declare<[Fd, CString, number, number]>('mknodat', 'int', 'int', 'void *', 'int', 'long'),
    fchownat: declare<[Fd, CString, number, number, number]>('fchownat', 'int', 'int', 'void *', 'uint', 'uint', 'int'),
    fchmodat: declare<[Fd, CString, number, number]>('fchmodat', 'int', 'int', 'void *', 'int', 'int'),
    fchown: declare<[Fd, number, number]>('fchown', 'int', 'int', 'uint', 'uint'),
    fchmod: declare<[Fd, number]>('fchmod', 'int', 'int', 'int'),
    futimens: declare<[Fd, Buffer]>('futimens', 'int', 'int', 'void *'),
    utimensat: declare<[Fd, CString, Buffer, number]>('utimensat', 'int', 'int', 'void *', 'void *', 'int'),
    statx: declare<[Fd, CString, number, number, Buffer]>('statx', 'int', 'int', 'void *', 'int', 'uint', 'void *'),
    fstatfs: declare<[Fd, Buffer]>('fstatfs', 'int', 'int', 'void *'),
    getdents64: declare<[Fd, Buffer, number]>('getdents64', 'long', 'int', 'void *', 'long'),
    pread: declare<[Fd, Buffer, number, number]>('pread', 'long', 'int', 'void *', 'long', 'long'),
    preadv2: declare<[Fd, Buffer, number, number, number]>('preadv2', 'long', 'int', 'void *', 'int', 'long', 'int'),
    lseek: declare<[Fd, number, number]>('lseek', 'long', 'int', 'long', 'int'),
    sendfile: declare<[Fd, Fd, null, number]>('sendfile', 'long', 'int', 'int', 'void *', 'long'),
    ftruncate: declare<[Fd, number]>('ftruncate', 'int', 'int', 'long'),
    fallocate: declare<[Fd, number, number, number]>('fallocate', 'int', 'int', 'int', 'long', 'long'),
    malloc_trim: declare<[number]>('malloc_trim', 'int', 'long'),
    madvise: declare<[number, number, number]>('madvise', 'int', 'long', 'long', 'int'),
    posix_fadvise: declare<[Fd, number, number, number]>('posix_fadvise', 'int', 'int', 'long', 'long', 'int'),
    sync_file_range: declare<[Fd, number, number, number]>('sync_file_range', 'int', 'int', 'long', 'long', 'uint'),
    syncfs: declare<[Fd]>('syncfs', 'int', 'int'),
    ioctlNumber: declare<[Fd, number, number]>('ioctl', 'int', 'int', 'ulong', 'long'),
    ioctlBuffer: declare<[Fd, number, Buffer]>('ioctl', 'int', 'int', 'ulong', 'void *'),
    flistxattr: declare<[Fd, Buffer, number]>('flistxattr', 'long', 'int', 'void *', 'long'),
    fgetxattr: declare<[Fd, CString, Buffer, number]>('fgetxattr', 'long', 'int', 'void *', 'void *', 'long'),
    fsetxattr: declare<[Fd, CString, Buffer, number, number]>(
      'fsetxattr',
      'int',
      'int',
      'void *',
      'void *',
      'long',
      'int',
    ),
    fremovexattr: declare<[Fd, CString]>('fremovexattr', 'int', 'int', 'void *'),
    lremovexattr: declare<[CString, CString]>('lremovexattr', 'int', 'void *', 'void *'),
    llistxattr: declare<[CString, Buffer, number]>('llistxattr', 'long', 'void *', 'void *', 'long'),
    lgetxattr: declare<[CString, CString, Buffer, number]>('lgetxattr', 'long', 'void *', 'void *', 'void *', 'long'),
    lsetxattr: declare<[CString, CString, Buffer, number, number]>(
      'lsetxattr',
      'int',
      'void *',
      'void *',
      'void *',
      'long',
      'int',
    ),
  }
}

export type Libc = ReturnType<typeof loadLibc>

let loaded: Libc | undefined

/** The C library, loaded on first use (an agent that never touches a tree never pays for it), once a thread. */
export function libc(): Libc {
  loaded ??= loadLibc()
  return loaded
}

/** The number of this thread's last failed call; ask at once. */
export function lastErrno(): number {
  return koffi.errno()
}

/** @throws nothing: Buffers here never move, so the address holds while the Buffer is referenced. */
export function addressOf(buffer: Buffer): number {
  return Number(koffi.address(buffer))
}

/** NUL-terminated bytes of a name or path. */
export function cString(text: string | Buffer): Buffer {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  const terminated = Buffer.allocUnsafe(bytes.length + 1)
  bytes.copy(terminated)
  terminated[bytes.length] = 0
  return terminated
}
