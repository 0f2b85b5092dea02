import { z } from 'zod'
import { type ChainedRow, type ChainHead, type HeadMarks, linkOf } from '../../core/audit-chain.ts'
import { type Sql, statement, type Transaction } from '../sql.ts'

/** What a link covers, as text, in this order for ever: time as microseconds since 1970, detail as Postgres prints jsonb. */
const FIELDS = [
  'ordinal::text',
  '(extract(epoch from at) * 1000000)::bigint::text',
  'subject',
  'user_id::text',
  'group_id::text',
  'via',
  'address',
  'request_id',
  'method',
  'path',
  'operation',
  'object_kind',
  'object_id',
  'object_name',
  'result',
  'code',
  'job_id::text',
  'detail::text',
].join(', ')

const Fields = z.array(z.string().nullable())
const Seq = z.coerce.number()

const HeadRow = z
  .object({
    seq: Seq,
    hash: z.instanceof(Buffer),
    mark: z.instanceof(Buffer).nullable(),
    key_id: z.string().nullable(),
  })
  .transform(
    ({ seq, hash, mark, key_id }): ChainHead => ({
      seq,
      hash,
      mark: mark === null || key_id === null ? null : { bytes: mark, keyId: key_id },
    }),
  )

const anyUnchained = statement(
  'audit_any_unchained',
  z.object({ waiting: z.boolean() }),
  'select exists (select 1 from audit where chain_seq is null) as waiting',
)

const lockHead = statement(
  'audit_lock_head',
  HeadRow,
  'select seq, hash, mark, key_id from audit_head for update skip locked',
)

const takeUnchained = statement(
  'audit_unchained',
  z.object({ ordinal: z.string(), fields: Fields }),
  `select ordinal, array[${FIELDS}] as fields
   from audit
   where chain_seq is null
   limit $1`,
)

const writeLinks = statement(
  'audit_link',
  z.unknown(),
  `with linked as (
     update audit
     set chain_seq = $1::bigint + l.n, hash = l.hash
     from unnest($2::bigint[], $3::bytea[]) with ordinality as l(ordinal, hash, n)
     where audit.ordinal = l.ordinal
   )
   update audit_head set seq = $4, hash = $5, mark = $6, key_id = $7`,
)

const readHead = statement('audit_head', HeadRow, 'select seq, hash, mark, key_id from audit_head')

const writeMark = statement(
  'audit_mark',
  z.object({ seq: Seq }),
  'update audit_head set mark = $2, key_id = $3 where seq = $1 returning seq',
)

const readChain = statement(
  'audit_chain',
  z.object({ chain_seq: Seq, ordinal: Seq, hash: z.instanceof(Buffer), fields: Fields }),
  `select chain_seq, ordinal, hash, array[${FIELDS}] as fields
   from audit
   where chain_seq > $1 and chain_seq <= $2
   order by chain_seq
   limit $3`,
)

const countUnchained = statement(
  'audit_count_unchained',
  z.object({ rows: Seq, seconds: z.number() }),
  `select count(*) as rows, coalesce(extract(epoch from now() - min(at)), 0)::double precision as seconds
   from audit
   where chain_seq is null`,
)

/** Of one moment, like every link and its head: what stands beyond was linked to a head that is there no more. */
const firstBeyond = statement(
  'audit_beyond',
  z.object({ chain_seq: Seq, ordinal: Seq }),
  `select a.chain_seq, a.ordinal
   from audit_head h
   join audit a on a.chain_seq > h.seq
   order by a.chain_seq
   limit 1`,
)

export interface AuditChainStore {
  /**
   * Links committed rows that have no link yet, at most `limit`, in one transaction. Ordinals are given out before commits, so
   * a row may come after later ones: the order of the chain is that of claiming, and no row is passed by for good.
   * @returns how many; 0 also while another replica is at it.
   */
  claim(limit: number): Promise<number>
  head(): Promise<ChainHead>
  /** Rows after `after` up to `last`, by place. */
  page(range: { readonly after: number; readonly last: number; readonly limit: number }): Promise<readonly ChainedRow[]>
  /** The first row that is linked beyond the head. */
  beyond(): Promise<{ readonly seq: number; readonly ordinal: number } | undefined>
  /** Rows that are committed and not linked, and how long the oldest waits. */
  tail(): Promise<{ readonly rows: number; readonly seconds: number }>
  /** Marks the head as it stands. @returns whether it still was that one. */
  remark(head: ChainHead): Promise<boolean>
}

export function createAuditChainStore(sql: Sql, marks: HeadMarks): AuditChainStore {
  async function link(tx: Transaction, limit: number): Promise<number> {
    const [head] = await tx.rows(lockHead, [])
    if (head === undefined) return 0
    const taken = await tx.rows(takeUnchained, [limit])
    if (taken.length === 0) return 0
    const rows = taken.toSorted((a, b) => Number(a.ordinal) - Number(b.ordinal))
    let { hash } = head
    const hashes = rows.map(({ fields }, n) => {
      hash = linkOf(hash, head.seq + n + 1, fields)
      return hash
    })
    const seq = head.seq + rows.length
    // A head that was not ours must not become ours by what is linked to it: once unmarked, it stays so until somebody looks.
    const made = marks.holds(head) ? marks.make({ seq, hash }) : null
    const ordinals = rows.map(({ ordinal }) => ordinal)
    await tx.rowsAndCommit(writeLinks, [
      head.seq,
      ordinals,
      hashes,
      seq,
      hash,
      made?.bytes ?? null,
      made?.keyId ?? null,
    ])
    return rows.length
  }

  return {
    async claim(limit) {
      const [found] = await sql.rows(anyUnchained, [])
      return found?.waiting ? sql.transaction((tx) => link(tx, limit)) : 0
    },

    async head() {
      const [head] = await sql.rows(readHead, [])
      if (head === undefined) throw new Error('audit_head has no row')
      return head
    },

    async remark({ seq, hash }) {
      const { bytes, keyId } = marks.make({ seq, hash })
      return (await sql.rows(writeMark, [seq, bytes, keyId])).length > 0
    },

    async page({ after, last, limit }) {
      const rows = await sql.rows(readChain, [after, last, limit])
      return rows.map(({ chain_seq, ...row }) => ({ seq: chain_seq, ...row }))
    },

    async beyond() {
      const [row] = await sql.rows(firstBeyond, [])
      return row && { seq: row.chain_seq, ordinal: row.ordinal }
    },

    async tail() {
      const [row] = await sql.rows(countUnchained, [])
      return row ?? { rows: 0, seconds: 0 }
    },
  }
}
