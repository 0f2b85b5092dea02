import { addressOf, libc } from './libc.ts'

/** asm-generic/mman-common.h */
const MADV_DONTNEED = 4
/** The largest page of any machine that we run on. */
const PAGE_BYTES = 65_536

/**
 * Gives memory of megabytes back at once: a collector that sees only small objects comes by too late to keep a bound. The
 * bytes are gone afterwards. Nothing happens to those that share their memory with others.
 */
export function release(bytes: Uint8Array | undefined): void {
  const buffer = bytes?.buffer
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes?.byteLength) buffer.transfer(0)
}

/**
 * The same of memory that threads share, which cannot be taken from them: it becomes zeros, and takes room again as it is written to.
 * It goes to the collector only once nobody knows it any more.
 */
export function releaseShared(memory: SharedArrayBuffer): void {
  const address = addressOf(Buffer.from(memory))
  const start = Math.ceil(address / PAGE_BYTES) * PAGE_BYTES
  const end = Math.floor((address + memory.byteLength) / PAGE_BYTES) * PAGE_BYTES
  if (end > start) libc().madvise(start, end - start, MADV_DONTNEED)
}

/** What was freed in the middle of malloc's heap, where it would stay for good: whole pages of it. Takes less than a millisecond. */
export function releaseFreed(): void {
  libc().malloc_trim(0)
}
