import { NotUnderstood } from './not-understood.ts'

/** sizeof (dmu_replay_record_t) */
export const RECORD_BYTES = 312
export const U64_MAX = 2n ** 64n - 1n

/** By their numbers in a record (DRR_…). */
export const RECORDS = [
  'begin',
  'object',
  'freeobjects',
  'write',
  'free',
  'end',
  'write_byref',
  'spill',
  'write_embedded',
  'object_range',
  'redact',
] as const
export type RecordName = (typeof RECORDS)[number]

/** What a record is about, and how much follows it. */
export interface Payload {
  /** Behind the record, and no record. */
  readonly bytes: number
  readonly toGuid: bigint
  readonly object: bigint | undefined
  /** Of records about several objects: whether this is one of them. */
  readonly covers?: (object: bigint) => boolean
}

/** Far above any block, bonus buffer and list of keys. */
const MAX_PAYLOAD = 2 ** 28

const aligned = (bytes: number) => Math.ceil(bytes / 8) * 8
const number = (record: Buffer, at: number) => Number(record.readBigUInt64LE(at))

/** The union of a record begins behind its type and `drr_payloadlen`. Macros DRR_…_PAYLOAD_SIZE. */
const READERS: Record<RecordName, (record: Buffer) => Payload> = {
  begin: (record) => ({ bytes: record.readUInt32LE(4), toGuid: record.readBigUInt64LE(40), object: undefined }),
  object: (record) => ({
    bytes: record.readUInt32LE(36) || aligned(record.readUInt32LE(28)),
    toGuid: record.readBigUInt64LE(40),
    object: record.readBigUInt64LE(8),
  }),
  freeobjects: several,
  write: (record) => ({
    bytes: record.readUInt8(50) === 0 ? number(record, 32) : number(record, 96),
    toGuid: record.readBigUInt64LE(40),
    object: record.readBigUInt64LE(8),
  }),
  free: (record) => ({ bytes: 0, toGuid: record.readBigUInt64LE(32), object: record.readBigUInt64LE(8) }),
  end: (record) => ({ bytes: 0, toGuid: record.readBigUInt64LE(40), object: undefined }),
  write_byref: (record) => ({ bytes: 0, toGuid: record.readBigUInt64LE(32), object: record.readBigUInt64LE(8) }),
  spill: (record) => ({
    bytes: number(record, 40) || number(record, 16),
    toGuid: record.readBigUInt64LE(24),
    object: record.readBigUInt64LE(8),
  }),
  write_embedded: (record) => ({
    bytes: aligned(record.readUInt32LE(52)),
    toGuid: record.readBigUInt64LE(32),
    object: record.readBigUInt64LE(8),
  }),
  object_range: (record) => ({ ...several(record), covers: () => false }),
  redact: (record) => ({ bytes: 0, toGuid: record.readBigUInt64LE(32), object: record.readBigUInt64LE(8) }),
}

function several(record: Buffer): Payload {
  const [first, count] = [record.readBigUInt64LE(8), record.readBigUInt64LE(16)]
  const covers = (object: bigint) => object >= first && object - first < count
  return { bytes: 0, toGuid: record.readBigUInt64LE(24), object: undefined, covers }
}

/** @throws NotUnderstood where it contradicts itself */
export function payloadOf(name: RecordName, record: Buffer): Payload {
  const payload = READERS[name](record)
  const told = record.readUInt32LE(4)
  if (payload.bytes > MAX_PAYLOAD || (told !== 0 && told !== payload.bytes))
    throw new NotUnderstood(`a record '${name}' with a payload of ${told} or ${payload.bytes} bytes`)
  return payload
}
