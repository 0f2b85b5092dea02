import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { VolumeSnapshotRow } from '../../core/volume-book.ts'
import { volumeNameOf } from '../../core/volume-names.ts'
import type { VolumeReader, VolumeSnapshotInfo } from '../../core/volumes.ts'
import { type Sql, statement } from '../sql.ts'
import { SNAPSHOT_COLUMNS, SnapshotColumns, VOLUME_COLUMNS, VOLUME_JOINS, VolumeColumns } from './volume-columns.ts'

const find = statement(
  'volume_find',
  VolumeColumns,
  `select ${VOLUME_COLUMNS}
   from volume v ${VOLUME_JOINS}
   where v.id = $2 and ($1::uuid is null or v.group_id = $1)`,
)

const findAt = statement(
  'volume_find_at',
  VolumeColumns,
  `select ${VOLUME_COLUMNS}
   from volume v ${VOLUME_JOINS}
   where v.path = $2 and ($1::uuid is null or v.group_id = $1)
   order by v.state = 'deleting', v.created_at desc
   limit 1`,
)

/** Plans are generic, so each index has its own statement. A row that goes stands behind the one that takes its name. */
const listOf = (name: string, whose: string) =>
  statement(
    name,
    VolumeColumns,
    `select ${VOLUME_COLUMNS}
     from volume v ${VOLUME_JOINS}
     where ${whose} and (v.path, v.id) > ($2, $3::uuid)
       and ($4::text is null or p.name = $4) and ($5::text is null or h.name = $5)
     order by v.path, v.id
     limit $6`,
  )
const listGroup = listOf('volume_page', 'v.group_id = $1')
const listAll = listOf('volume_page_all', '$1::uuid is null')

const findSnapshot = statement(
  'volume_snapshot_find',
  SnapshotColumns,
  `select ${SNAPSHOT_COLUMNS}
   from volume_snapshot s
   where s.path = $2 and ($1::uuid is null or s.group_id = $1)
   order by s.state = 'deleting'
   limit 1`,
)

const findSnapshotById = statement(
  'volume_snapshot_find_id',
  SnapshotColumns,
  `select ${SNAPSHOT_COLUMNS}
   from volume_snapshot s
   where s.id = $2 and ($1::uuid is null or s.group_id = $1)`,
)

const snapshotPage = statement(
  'volume_snapshot_page',
  SnapshotColumns,
  `select ${SNAPSHOT_COLUMNS}
   from volume_snapshot s
   where s.volume_id = $1 and (s.name, s.id) > ($2, $3::uuid)
   order by s.name, s.id
   limit $4`,
)

const isId = (id: string) => z.uuid().safeParse(id).success

export function createVolumeStore(sql: Sql): VolumeReader {
  return {
    async find(groupId, idOrPath) {
      if (isId(idOrPath)) return (await sql.rows(find, [groupId, idOrPath]))[0]
      // Anything else names nothing, and may be text that Postgres does not take.
      if (volumeNameOf(idOrPath) === undefined) return undefined
      return (await sql.rows(findAt, [groupId, idOrPath]))[0]
    },

    async snapshot(groupId, idOrPath) {
      const [row] = await sql.rows(isId(idOrPath) ? findSnapshotById : findSnapshot, [groupId, idOrPath])
      return row && shown(row)
    },

    async list(groupId, { pool, host }, { limit, cursor }) {
      if ([pool, host].some((name) => name !== undefined && !/^[a-z0-9-]{1,63}$/.test(name))) {
        return { items: [], nextCursor: null }
      }
      const values = [groupId, ...placeOf(cursor), pool ?? null, host ?? null, limit + 1]
      return pageOf(await sql.rows(groupId === null ? listAll : listGroup, values), limit, ({ path }) => path)
    },

    async snapshots(volumeId, { limit, cursor }) {
      const rows = await sql.rows(snapshotPage, [volumeId, ...placeOf(cursor), limit + 1])
      const { items, nextCursor } = pageOf(rows, limit, ({ name }) => name)
      return { items: items.map(shown), nextCursor }
    },
  }
}

function shown({ guid: _guid, partOf: _partOf, ...info }: VolumeSnapshotRow): VolumeSnapshotInfo {
  return info
}

/** A page, and a cursor of the last name and id. */
export function pageOf<Row extends { readonly id: string }>(
  rows: readonly Row[],
  limit: number,
  nameOf: (row: Row) => string,
) {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  const next = rows.length > limit && last ? JSON.stringify([nameOf(last), last.id]) : undefined
  return { items, nextCursor: next === undefined ? null : Buffer.from(next).toString('base64url') }
}

const Place = z.tuple([z.string().max(1000), z.uuid()])

/** Before every name. */
const BEGINNING = ['', '00000000-0000-0000-0000-000000000000'] as const

/** @throws invalid. */
export function placeOf(cursor: string | undefined): readonly [string, string] {
  if (cursor === undefined) return BEGINNING
  try {
    const place = Place.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString()))
    if (!place[0].includes('\0') && place[0].isWellFormed()) return place
  } catch {
    // Whatever is wrong with it, it is not ours.
  }
  throw new FleetError('invalid', 'cursor: is not one that this server gave', { field: 'cursor' })
}
