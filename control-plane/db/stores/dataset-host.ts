import { z } from 'zod'
import { statement } from '../sql.ts'

/** Where the dataset of that group and name lies. */
export const hostOfDataset = statement(
  'dataset_host',
  z.object({ host: z.string() }),
  `select h.name as host
   from dataset d
   join pool p on p.id = d.pool_id
   join host h on h.id = p.host_id
   where d.group_id = $1 and d.name = $2`,
)
