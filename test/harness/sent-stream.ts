import type { SentRange, SentSnapshots } from '../../agent/zfs/send-stream.ts'

const RECORD_BYTES = 312
const MAGIC = 0x2f5bacbacn
/** One stream of records, with EMBED_DATA, LZ4 and COMPRESSED, as `zfs send -w` of 2.1 makes them. */
export const VERSION = 1n | (0x43_0000n << 2n)
export const TYPES = { begin: 0, object: 1, freeobjects: 2, write: 3, free: 4, end: 5, write_embedded: 8 } as const

type Field = readonly [at: number, value: bigint | number, bytes: 1 | 4 | 8]

/** A record of `zfs send`, with what follows it. */
export function sentRecord(type: number, fields: readonly Field[], payload: Buffer = Buffer.alloc(0)): Buffer {
  const record = Buffer.alloc(RECORD_BYTES)
  record.writeUInt32LE(type, 0)
  for (const [at, value, bytes] of fields) {
    if (bytes === 8) record.writeBigUInt64LE(BigInt(value), at)
    else record.writeUIntLE(Number(value), at, bytes)
  }
  return Buffer.concat([record, payload])
}

export function sentBegin({ fromGuid, toGuid }: SentSnapshots, version = VERSION): Buffer {
  return sentRecord(TYPES.begin, [
    [8, MAGIC, 8],
    [16, version, 8],
    [32, 3, 4],
    [40, BigInt(toGuid), 8],
    [48, BigInt(fromGuid), 8],
  ])
}

/** Of the volume's bytes. */
export function sentRange({ offset, bytes, isWritten }: SentRange, toGuid: string): Buffer {
  const length = bytes === Number.POSITIVE_INFINITY ? 2n ** 64n - 1n : BigInt(bytes)
  if (!isWritten)
    return sentRecord(TYPES.free, [
      [8, 1, 8],
      [16, offset, 8],
      [24, length, 8],
      [32, BigInt(toGuid), 8],
    ])
  return sentRecord(
    TYPES.write,
    [
      [8, 1, 8],
      [24, offset, 8],
      [32, length, 8],
      [40, BigInt(toGuid), 8],
    ],
    Buffer.alloc(bytes, 0x5a),
  )
}

export function sentEnd({ toGuid }: SentSnapshots): Buffer {
  return sentRecord(TYPES.end, [[40, BigInt(toGuid), 8]])
}

/** What `zfs send -i` says of a volume of which this may differ. */
export function sentStream(of: SentSnapshots, ranges: readonly SentRange[]): Buffer {
  return Buffer.concat([sentBegin(of), ...ranges.map((range) => sentRange(range, of.toGuid)), sentEnd(of)])
}
