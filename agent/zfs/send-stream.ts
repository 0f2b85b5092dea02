import { NotUnderstood } from './not-understood.ts'
import { type Payload, payloadOf, RECORD_BYTES, RECORDS, type RecordName, U64_MAX } from './send-records.ts'

/** Of a volume: the object that holds its bytes (ZVOL_OBJ, module/os/linux/zfs/zvol_os.c). */
const ZVOL_OBJECT = 1n
/** DMU_OST_ZVOL */
const ZVOL_TYPE = 3
const MAGIC = 0x2f5bacbacn
/** DMU_SUBSTREAM, in the lowest two bits of the version. */
const SUBSTREAM = 1n
/**
 * DMU_BACKUP_FEATURE_…: EMBED_DATA, LZ4, LARGE_BLOCKS, COMPRESSED, LARGE_DNODE, RAW, ZSTD. They say how a payload is stored. Others
 * change what records mean (REDACTED, DEDUP, RESUMING), or are unknown here.
 */
const FEATURES = [16n, 17n, 19n, 22n, 23n, 24n, 25n].reduce((all, bit) => all | (1n << bit), 0n)

/** What of a volume may differ, in bytes; `isWritten`: else nothing is stored there any more, or never was. */
export interface SentRange {
  readonly offset: number
  /** Infinity: to its end. */
  readonly bytes: number
  readonly isWritten: boolean
}

export interface SentSnapshots {
  /** Guids, in decimal digits. */
  readonly fromGuid: string
  readonly toGuid: string
}

/**
 * Reads the stream of `zfs send -i` of a volume for what it says of the volume's bytes, and skips the bytes: one record is kept in
 * memory, whatever their payloads. Records are 312 bytes in the byte order of the sender, which is this host
 * (include/sys/zfs_ioctl.h, the same from 0.8 to 2.3; seen with 2.1.11). What is not understood in all of its parts ends it.
 */
export class SendStream {
  readonly #from: bigint
  readonly #to: bigint
  readonly #maxPayloadBytes: number
  readonly #take: (range: SentRange) => void
  readonly #record = Buffer.alloc(RECORD_BYTES)
  #have = 0
  #skip = 0
  #payloadBytes = 0
  #state: 'begin' | 'within' | 'ended' = 'begin'

  /** @param maxPayloadBytes of all records: whoever finds more had better read the volume */
  constructor(of: SentSnapshots, maxPayloadBytes: number, take: (range: SentRange) => void) {
    this.#from = BigInt(of.fromGuid)
    this.#to = BigInt(of.toGuid)
    this.#maxPayloadBytes = maxPayloadBytes
    this.#take = take
  }

  /** @throws NotUnderstood */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const skipped = Math.min(this.#skip, chunk.length - at)
      this.#skip -= skipped
      at += skipped
      const copied = Math.min(RECORD_BYTES - this.#have, chunk.length - at)
      chunk.copy(this.#record, this.#have, at, at + copied)
      this.#have += copied
      at += copied
      if (this.#have < RECORD_BYTES) continue
      this.#have = 0
      this.#read(this.#record)
    }
  }

  /** To be called behind the last byte. @throws NotUnderstood for a stream that does not come to its end */
  finish(): void {
    if (this.#state !== 'ended' || this.#have > 0 || this.#skip > 0) throw new NotUnderstood('the stream is cut off')
  }

  #read(record: Buffer): void {
    const name = RECORDS[record.readUInt32LE(0)]
    if (name === undefined) throw new NotUnderstood(`a record of type ${record.readUInt32LE(0)}`)
    if (this.#state === 'ended' || (name === 'begin') !== (this.#state === 'begin'))
      throw new NotUnderstood(`a record '${name}' in the wrong place`)
    const payload = payloadOf(name, record)
    if (name === 'begin') this.#begin(record)
    else if (payload.toGuid !== this.#to) throw new NotUnderstood('a record of another snapshot')
    this.#state = name === 'end' ? 'ended' : 'within'
    this.#tell(name, payload, record)
    this.#skip = payload.bytes
    this.#payloadBytes += payload.bytes
    if (this.#payloadBytes > this.#maxPayloadBytes) throw new NotUnderstood('most of the volume has changed')
  }

  #begin(record: Buffer): void {
    const version = record.readBigUInt64LE(16)
    const isKnown =
      record.readBigUInt64LE(8) === MAGIC && (version & 3n) === SUBSTREAM && ((version >> 2n) & ~FEATURES) === 0n
    if (!isKnown) throw new NotUnderstood(`a stream of version ${version.toString(16)}`)
    if (record.readUInt32LE(32) !== ZVOL_TYPE) throw new NotUnderstood('the stream is not one of a volume')
    if (record.readBigUInt64LE(40) !== this.#to || record.readBigUInt64LE(48) !== this.#from)
      throw new NotUnderstood('the stream is one between other snapshots')
  }

  #tell(name: RecordName, { object, covers }: Payload, record: Buffer): void {
    if (name === 'freeobjects' && covers?.(ZVOL_OBJECT)) throw new NotUnderstood('the bytes of the volume are gone')
    if (object !== ZVOL_OBJECT) return
    // Its own header alone tells nothing of its bytes; what is behind their end follows as a record of its own.
    if (name === 'object') return
    const place = PLACES[name]
    if (place === undefined) throw new NotUnderstood(`a record '${name}' of the volume's bytes`)
    const [offset, bytes] = [record.readBigUInt64LE(place.offset), record.readBigUInt64LE(place.bytes)]
    const isToEnd = bytes === U64_MAX && name === 'free'
    if (offset > MAX_OFFSET || (!isToEnd && bytes > MAX_OFFSET)) throw new NotUnderstood('a range behind all volumes')
    this.#take({
      offset: Number(offset),
      bytes: isToEnd ? Number.POSITIVE_INFINITY : Number(bytes),
      isWritten: name !== 'free',
    })
  }
}

const MAX_OFFSET = BigInt(Number.MAX_SAFE_INTEGER) / 2n

/** Where in the record it says which bytes. Spilt and redacted ones, and such as refer to others, are no volume's. */
const PLACES: Partial<Record<RecordName, { readonly offset: number; readonly bytes: number }>> = {
  write: { offset: 24, bytes: 32 },
  free: { offset: 16, bytes: 24 },
  write_embedded: { offset: 16, bytes: 24 },
}
