import { z } from 'zod'
import { IscsiName } from '../../../shared/volume-spec.ts'
import type { ExportInfo, ExportReader } from '../../core/exports.ts'
import type { Secrets } from '../../core/secrets.ts'
import type { ExportRow } from '../../core/volume-book.ts'
import { volumeNameOf } from '../../core/volume-names.ts'
import { type Sql, statement } from '../sql.ts'
import { createExportBatchReader } from './export-batch-store.ts'
import { EXPORT_COLUMNS, EXPORT_JOINS, ExportColumns } from './volume-columns.ts'
import { pageOf, placeOf } from './volume-store.ts'

const find = statement(
  'export_find',
  ExportColumns,
  `select ${EXPORT_COLUMNS}
   from export e ${EXPORT_JOINS}
   where e.id = $2 and ($1::uuid is null or e.group_id = $1)`,
)

const findWwn = statement(
  'export_find_wwn',
  ExportColumns,
  `select ${EXPORT_COLUMNS}
   from export e ${EXPORT_JOINS}
   where e.wwn = $2 and ($1::uuid is null or e.group_id = $1)
   order by e.state = 'deleting', e.created_at desc
   limit 1`,
)

const listOf = (name: string, whose: string) =>
  statement(
    name,
    ExportColumns,
    `select ${EXPORT_COLUMNS}
     from export e ${EXPORT_JOINS}
     where ${whose} and (e.wwn, e.id) > ($2, $3::uuid)
       and ($4::text is null or h.name = $4) and ($5::text is null or e.volume = $5)
     order by e.wwn, e.id
     limit $6`,
  )
const listGroup = listOf('export_page', 'e.group_id = $1')
const listAll = listOf('export_page_all', '$1::uuid is null')
/** A volume has few. */
const listVolume = listOf('export_page_volume', 'e.volume = $5 and ($1::uuid is null or e.group_id = $1)')

const secrets = statement(
  'export_secrets',
  z.object({ wwn: z.string(), secret_id: z.string() }),
  `select wwn, secret_id
   from export
   where id = any($1::uuid[]) and secret_id is not null and chap_user is not null`,
)

const ofJob = statement(
  'export_secret_of_job',
  z.object({ secret_id: z.string() }),
  'select secret_id from export_batch_job where job_id = $1 and secret_id is not null',
)

const SecretMap = z.record(z.string(), z.string())

export function createExportStore(sql: Sql): ExportReader {
  return {
    batch: createExportBatchReader(sql),

    async find(groupId, idOrWwn) {
      if (z.uuid().safeParse(idOrWwn).success) return shown((await sql.rows(find, [groupId, idOrWwn]))[0])
      const wwn = IscsiName.safeParse(idOrWwn)
      return wwn.success ? shown((await sql.rows(findWwn, [groupId, wwn.data]))[0]) : undefined
    },

    async list(groupId, { host, volume }, { limit, cursor }) {
      const isNobodys =
        (host !== undefined && !/^[a-z0-9-]{1,63}$/.test(host)) ||
        (volume !== undefined && volumeNameOf(volume) === undefined)
      if (isNobodys) return { items: [], nextCursor: null }
      const values = [groupId, ...placeOf(cursor), host ?? null, volume ?? null, limit + 1]
      const whose = groupId === null ? listAll : listGroup
      const rows = await sql.rows(volume === undefined ? whose : listVolume, values)
      const { items, nextCursor } = pageOf(rows, limit, ({ wwn }) => wwn)
      return { items: items.flatMap((row) => shown(row) ?? []), nextCursor }
    },
  }
}

/** Of these exports, by wwn; each of the few maps is opened once. */
async function secretsOf(
  sql: Sql,
  vault: Pick<Secrets, 'open'>,
  exportIds: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const rows = exportIds.length === 0 ? [] : await sql.rows(secrets, [exportIds])
  const kept: Record<string, string> = {}
  for (const [id, of] of Map.groupBy(rows, (row) => row.secret_id)) {
    const map = SecretMap.parse(JSON.parse((await vault.open(id)).toString()))
    for (const { wwn } of of) if (map[wwn] !== undefined) kept[wwn] = map[wwn]
  }
  return kept
}

/** What is sealed beside an order about exports. */
export interface ExportSecretsOfOrders {
  /** @returns undefined where it needs none. @throws not_found, internal */
  of(jobId: string, exportIds: readonly string[] | undefined): Promise<Buffer | undefined>
}

/** @param exportIds of an order that tells a host all of them; else what was given with the order is taken. */
export function createExportSecrets(sql: Sql, vault: Pick<Secrets, 'open'>): ExportSecretsOfOrders {
  return {
    async of(jobId, exportIds) {
      if (exportIds !== undefined) return Buffer.from(JSON.stringify(await secretsOf(sql, vault, exportIds)))
      const [row] = await sql.rows(ofJob, [jobId])
      return row && vault.open(row.secret_id)
    },
  }
}

function shown(row: ExportRow | undefined): ExportInfo | undefined {
  if (row === undefined) return undefined
  const { id, groupId, wwn, volume, host, initiators, chapUser, isReadonly, state, createdAt, version } = row
  return { id, groupId, wwn, volume, host, initiators, chapUser, isReadonly, state, createdAt, version }
}
