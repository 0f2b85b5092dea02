/** Bytes of a tar in order. What is returned is valid until the next call. @throws corrupt where there are no more */
export interface ByteReader {
  /** Of the next byte. */
  readonly offset: number
  /** What lies ready, at most `limit` and at least one byte of it. */
  some(limit: number): Buffer
  /** False at the end, for a stream whose length nobody declared. */
  more(): boolean
}

export function readExactly(reader: ByteReader, bytes: number): Buffer {
  const first = reader.some(bytes)
  if (first.length === bytes) return first
  const whole = Buffer.allocUnsafe(bytes)
  let filled = first.copy(whole)
  while (filled < bytes) filled += reader.some(bytes - filled).copy(whole, filled)
  return whole
}

export function skip(reader: ByteReader, bytes: number): void {
  for (let left = bytes; left > 0; ) left -= reader.some(left).length
}
