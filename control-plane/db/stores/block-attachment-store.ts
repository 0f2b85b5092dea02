import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { AttachmentRow, BlockAttachmentReader } from '../../core/block-store.ts'
import { type Sql, statement } from '../sql.ts'
import { ATTACHMENT, AttachmentColumns } from './block-attachment-columns.ts'

const Row = z
  .object({ group_id: z.string(), attachment: AttachmentColumns })
  .transform(({ group_id: groupId, attachment }): AttachmentRow => ({ groupId, attachment }))

const COLUMNS = `select v.group_id, ${ATTACHMENT} as attachment
   from volume_attachment t
   join volume v on v.id = t.volume_id`

const find = statement(
  'block_attachment_find',
  Row,
  `${COLUMNS}
   where t.id = $2 and ($1::uuid is null or v.group_id = $1)`,
)

/** To the microsecond, which a Date does not hold. */
const marker = statement(
  'block_attachment_marker',
  z.object({ at: z.string() }),
  `select t.created_at::text as at
   from volume_attachment t
   join volume v on v.id = t.volume_id
   where t.id = $2 and ($1::uuid is null or v.group_id = $1)`,
)

const page = statement(
  'block_attachment_page',
  Row,
  `${COLUMNS}
   where ($1::uuid is null or v.group_id = $1) and (t.created_at, t.id) < ($2::timestamptz, $3::uuid)
     and ($4::uuid is null or t.volume_id = $4) and ($5::uuid is null or t.instance_id = $5) and ($6::text is null or t.state = $6)
   order by t.created_at desc, t.id desc
   limit $7`,
)

/** Behind all others. */
const END = ['infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff'] as const
const isId = (id: string | undefined) => id === undefined || z.uuid().safeParse(id).success

export function createBlockAttachmentReader(sql: Sql): BlockAttachmentReader {
  async function placeOf(groupId: string | null, cursor: string | undefined) {
    if (cursor === undefined) return END
    const [found] = isId(cursor) ? await sql.rows(marker, [groupId, cursor]) : []
    if (found !== undefined) return [found.at, cursor] as const
    throw new FleetError('invalid', 'marker: names nothing that is in this list', { field: 'marker' })
  }

  return {
    find: async (groupId, id) => (isId(id) ? (await sql.rows(find, [groupId, id]))[0] : undefined),

    async list(groupId, { volumeId, instanceId, state }, { limit, cursor }) {
      if (!isId(volumeId) || !isId(instanceId)) return { items: [], nextCursor: null }
      const place = await placeOf(groupId, cursor)
      const filter = [volumeId ?? null, instanceId ?? null, state ?? null]
      const rows = await sql.rows(page, [groupId, ...place, ...filter, limit + 1])
      const items = rows.slice(0, limit)
      return { items, nextCursor: rows.length > limit ? (items.at(-1)?.attachment.id ?? null) : null }
    },
  }
}
