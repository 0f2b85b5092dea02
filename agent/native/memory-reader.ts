import { addressOf, libc } from './libc.ts'

/** linux/fs.h */
const RWF_NOWAIT = 8
/** `struct iovec`: an address and a length. */
const IOVEC_BYTES = 16

/** Reads of files what is in memory already, and waits for no disk. One a thread. */
export class MemoryReader {
  readonly room: Buffer
  readonly #iovec = Buffer.alloc(IOVEC_BYTES)

  /** @param room what is read is put there */
  constructor(room: Buffer) {
    this.room = room
    this.#iovec.writeBigUInt64LE(BigInt(addressOf(room)), 0)
  }

  /** @param bytes at most, of the room @returns how many; 0 at the end of the file; negative where it would wait, or cannot tell, with errno set */
  read(fd: number, bytes: number, position: number): number {
    this.#iovec.writeBigUInt64LE(BigInt(Math.min(bytes, this.room.length)), 8)
    return libc().preadv2(fd, this.#iovec, 1, position, RWF_NOWAIT)
  }
}
