/**
 * Gives memory of megabytes back at once: a collector that sees only small objects comes by too late to keep a bound. The
 * bytes are gone afterwards. Nothing happens to those that share their memory with others.
 */
export function release(bytes: Uint8Array | undefined): void {
  const buffer = bytes?.buffer
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes?.byteLength) buffer.transfer(0)
}
