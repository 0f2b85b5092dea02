import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Finds a file's first block in the image below it, writes other bytes there, and lets the cache forget the file. */
const ROT = `
import os, sys
image, path = sys.argv[1:]
os.sync()
with open(path, 'rb') as f:
    start = f.read(4096)
    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
fd = os.open(image, os.O_RDWR)
size = os.fstat(fd).st_size
at = found = 0
while at < size:
    try: at = os.lseek(fd, at, os.SEEK_DATA)
    except OSError: break
    end = os.lseek(fd, at, os.SEEK_HOLE)
    while at < end:
        piece = os.pread(fd, 1 << 22, at)
        hit = piece.find(start)
        while hit >= 0:
            os.pwrite(fd, b'rot' * 8, at + hit + 100)
            found += 1
            hit = piece.find(start, hit + 1)
        at += len(piece)
os.fsync(fd)
sys.exit(0 if found else 'the file does not lie in the image')
`

/**
 * Makes a file on a loop mount unreadable: on btrfs its checksum no longer holds, and reading it is an I/O error, as on a disk that
 * rots. The file must be new, not small, and begin with bytes that no other has.
 */
export function makeUnreadable(mountPoint: string, path: string): void {
  execFileSync('/usr/bin/python3', ['-c', ROT, join(dirname(mountPoint), 'image'), path], { stdio: 'pipe' })
}

/** Turns one byte of a file into another, as a disk without checksums may. @param part of its length, from 0 to 1 */
export function flipByte(path: string, part: number): void {
  const file = openSync(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    const { size } = fstatSync(file)
    const at = Math.min(size - 1, Math.floor(size * part))
    readSync(file, byte, 0, 1, at)
    byte[0] = (byte[0] ?? 0) ^ 0x55
    writeSync(file, byte, 0, 1, at)
  } finally {
    closeSync(file)
  }
}
