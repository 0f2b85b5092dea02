import type { DatasetReader } from '../../core/datasets.ts'
import { type Sql, statement } from '../sql.ts'
import { DATASET_COLUMNS, DATASET_JOINS, DatasetRow } from './dataset-columns.ts'

const find = statement(
  'dataset_find',
  DatasetRow,
  `select ${DATASET_COLUMNS}
   from dataset d ${DATASET_JOINS}
   where d.group_id = $1 and d.name = $2 and d.state <> 'creating'`,
)

const list = statement(
  'dataset_list',
  DatasetRow,
  `select ${DATASET_COLUMNS}
   from dataset d ${DATASET_JOINS}
   where d.group_id = $1 and d.state <> 'creating' and (d.is_snapshot or not $2)
   order by d.ordinal`,
)

export function createDatasetStore(sql: Sql): DatasetReader {
  return {
    find: async (groupId, name) => (await sql.rows(find, [groupId, name]))[0],
    list: (groupId, { snapshotsOnly }) => sql.rows(list, [groupId, snapshotsOnly]),
  }
}
