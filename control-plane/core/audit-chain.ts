import { createHash } from 'node:crypto'

/** What the first link follows. */
export const GENESIS = Buffer.alloc(32)

/** A row in the chain: everything it tells as text, in the order of `AUDIT_FIELDS`, and its link as it is kept. */
export interface ChainedRow {
  readonly seq: number
  readonly ordinal: number
  readonly fields: readonly (string | null)[]
  readonly hash: Buffer
}

/** The last link, and the mark that only who has the secrets key can make. */
export interface ChainHead {
  readonly seq: number
  readonly hash: Buffer
  readonly mark: { readonly bytes: Buffer; readonly keyId: string } | null
}

/** SHA-256 of a row's fields as a JSON array of texts and nulls, which is the same bytes wherever it is computed. */
function leafOf(fields: readonly (string | null)[]): Buffer {
  return createHash('sha256').update(JSON.stringify(fields)).digest()
}

/** SHA-256 of the link before, the place as eight bytes, big end first, and the row's leaf. */
export function linkOf(previous: Buffer, seq: number, fields: readonly (string | null)[]): Buffer {
  return createHash('sha256').update(previous).update(placeBytes(seq)).update(leafOf(fields)).digest()
}

/** Makes and checks heads' marks with keys that Postgres never sees: who rewrites the whole chain cannot mark its head. */
export interface HeadMarks {
  make(head: Pick<ChainHead, 'seq' | 'hash'>): NonNullable<ChainHead['mark']>
  /** True before the first link. */
  holds(head: ChainHead): boolean
}

export function createHeadMarks(keys: {
  mark(bytes: Buffer): NonNullable<ChainHead['mark']>
  checkMark(bytes: Buffer, mark: NonNullable<ChainHead['mark']>): boolean
}): HeadMarks {
  const bytesOf = ({ seq, hash }: Pick<ChainHead, 'seq' | 'hash'>) => Buffer.concat([placeBytes(seq), hash])
  return {
    make: (head) => keys.mark(bytesOf(head)),
    holds: (head) =>
      head.seq === 0 ? head.hash.equals(GENESIS) : head.mark !== null && keys.checkMark(bytesOf(head), head.mark),
  }
}

function placeBytes(seq: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(seq))
  return bytes
}

export interface ChainFault {
  readonly kind: 'changed' | 'missing' | 'reordered' | 'head' | 'unmarked'
  /** The first place where the chain does not hold. */
  readonly seq: number
  readonly ordinal: number | null
  readonly message: string
}

/** Walks the chain, page by page; remembers one link, so its memory does not grow with the chain. */
export class ChainWalk {
  seq = 0
  hash: Buffer = GENESIS

  /** Takes the next rows, by place. @returns the first fault, or undefined when every link holds. */
  take(rows: readonly ChainedRow[]): ChainFault | undefined {
    for (const row of rows) {
      const seq = this.seq + 1
      if (row.seq !== seq) return missing(seq, row.seq)
      const link = linkOf(this.hash, seq, row.fields)
      if (!link.equals(row.hash)) return this.#blame(row, rows)
      this.seq = seq
      this.hash = link
    }
    return undefined
  }

  /** After the last page: whether the chain ends where the head says. */
  end(head: ChainHead): ChainFault | undefined {
    if (this.seq < head.seq) return missing(this.seq + 1, head.seq + 1)
    if (this.hash.equals(head.hash)) return undefined
    const message = 'the head is not the link of the last row'
    return { kind: 'head', seq: head.seq, ordinal: null, message }
  }

  /** The row that stands here is not the one that was linked here: another one, or itself no longer. */
  #blame(row: ChainedRow, rows: readonly ChainedRow[]): ChainFault {
    const place = { seq: row.seq, ordinal: row.ordinal }
    const other = rows.find((candidate) => {
      const link = linkOf(this.hash, row.seq, candidate.fields)
      return candidate !== row && (link.equals(candidate.hash) || link.equals(row.hash))
    })
    if (!other) return { kind: 'changed', ...place, message: `row ${row.ordinal} is not as it was linked` }
    const message = `row ${row.ordinal} stands where row ${other.ordinal} was linked`
    return { kind: 'reordered', ...place, message }
  }
}

function missing(seq: number, next: number): ChainFault {
  const message = next - seq === 1 ? 'a row is missing' : `${next - seq} rows are missing`
  return { kind: 'missing', seq, ordinal: null, message }
}
