import { createBatcher } from '../../../shared/batcher.ts'
import type { Dataset, DatasetReader } from '../../core/datasets.ts'
import { isRefusal, type Sql, statement } from '../sql.ts'
import { DATASET_COLUMNS, DATASET_JOINS, DatasetRow } from './dataset-columns.ts'

/** Requests that read at the same time read together: after a group of jobs has settled there are many. */
const find = statement(
  'dataset_find',
  DatasetRow,
  `select ${DATASET_COLUMNS}
   from unnest($1::uuid[], $2::text[]) as asked(group_id, name)
   join dataset d on d.group_id = asked.group_id and d.name = asked.name ${DATASET_JOINS}
   where d.state <> 'creating'`,
)

const MAX_GROUP = 128
const MAX_WAITING = 20_000

const list = statement(
  'dataset_list',
  DatasetRow,
  `select ${DATASET_COLUMNS}
   from dataset d ${DATASET_JOINS}
   where d.group_id = $1 and d.state <> 'creating' and (d.is_snapshot or not $2)
   order by d.ordinal`,
)

interface Wanted {
  readonly groupId: string
  readonly name: string
}

export function createDatasetStore(sql: Sql): DatasetReader {
  const findTogether = createBatcher<Wanted, { readonly dataset: Dataset | undefined }>({
    maxItems: MAX_GROUP,
    maxWaiting: MAX_WAITING,
    mayRetry: isRefusal,
    async work(wanted) {
      const rows = await sql.rows(find, [wanted.map((item) => item.groupId), wanted.map((item) => item.name)])
      const found = new Map(rows.map((row) => [`${row.groupId}/${row.name}`, row]))
      return wanted.map(({ groupId, name }) => ({ dataset: found.get(`${groupId}/${name}`) }))
    },
  })

  return {
    find: async (groupId, name) => (await findTogether({ groupId, name })).dataset,
    list: (groupId, { snapshotsOnly }) => sql.rows(list, [groupId, snapshotsOnly]),
  }
}
