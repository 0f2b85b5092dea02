import test from 'ava'
import { createJobPruneStore, NAMED_BY } from '../control-plane/db/stores/job-prune-store.ts'
import { createOldJobs } from '../control-plane/jobs/old-jobs.ts'
import { newId } from '../shared/ids.ts'
import { createLogger } from '../shared/logger.ts'
import { ADMIN, openPointRoom } from './harness/point-room.ts'

const DAY_MS = 86_400_000

/** These tell of jobs, and need none: history, what goes within a day, and what goes with its job. */
const ON_THEIR_OWN = ['audit', 'event', 'idempotency_key', 'export_batch_job']

test('jobs that ended long ago are forgotten, but for those that something names', async (t) => {
  const room = await openPointRoom(t)
  const { db } = room
  await room.dataset('x')
  const point = await room.point('x')
  const running = await room.datasets.create(ADMIN, { name: 'y', host: 'a' })
  const [from] = await db.query('select group_id, host_id from job limit 1')
  const job = async (kind: string, datasetId: string | null = null) => {
    const [made] = await db.query(
      `insert into job (id, group_id, host_id, kind, request, spec, dataset_id, state, created_by, finished_at)
       values ($1, $2, $3, $4, '{}', '{}', $5, 'succeeded', 'test', now())
       returning id`,
      [newId(), from.group_id, from.host_id, kind, datasetId],
    )
    return made.id as string
  }
  const [x] = await db.query(`select id from dataset where name = 'x'`)
  const restored = await job('point.restore', x.id)
  const [batch, empty, exported] = [newId(), newId(), await job('export.create')]
  for (const id of [batch, empty])
    await db.query(
      `insert into export_batch (id, group_id, type, requested, done, errors, created_by, created_at)
       values ($1, $2, 'create', 1, '[]', '[]', 'test', now() - interval '500 days')`,
      [id, from.group_id],
    )
  await db.query('insert into export_batch_job (job_id, batch_id, elements) values ($1, $2, 1)', [exported, batch])
  await db.query(
    `insert into job (id, group_id, host_id, kind, request, spec, state, created_by, finished_at)
     select gen_random_uuid(), $1, $2, 'dataset.create', '{}', '{}', 'failed', 'test', now() from generate_series(1, 2500)`,
    [from.group_id, from.host_id],
  )
  const late = await job('dataset.create')
  const young = await job('dataset.create')
  await db.query(
    `update job set created_at = now() - interval '500 days', finished_at = finished_at - interval '500 days' where id <> all($1)`,
    [[late, young]],
  )
  await db.query(`update job set created_at = now() - interval '500 days' where id = $1`, [late])

  const store = createJobPruneStore(room.sql)
  const prune = createOldJobs({ store, olderThanMs: 400 * DAY_MS, logger: createLogger('test', 'error') })
  const jobs = async () => (await db.query('select id from job order by ordinal')).map(({ id }: { id: string }) => id)
  const [made] = await db.query('select job_id from point where id = $1', [point.id])
  await prune()
  t.deepEqual(await jobs(), [made.job_id, running.jobId, restored, late, young])
  t.deepEqual(await db.query('select id from export_batch'), [])
  t.like(await room.points.get(ADMIN, point.id), { status: 'good' })
  t.like(await room.datasets.get(ADMIN, 'x'), { state: 'available' })

  // What stayed is looked at again a day later, as nothing may name it any more.
  await db.query('delete from point')
  await db.query(`update job set finished_at = now() - interval '450 days' where id = $1`, [late])
  await prune()
  t.is((await jobs()).length, 5)
  await db.query(`update job_pruning set began_at = now() - interval '25 hours'`)
  await prune()
  await prune()
  t.deepEqual(await jobs(), [running.jobId, restored, young])
})

test('whatever names jobs is known to what forgets them', async (t) => {
  const { db } = await openPointRoom(t)
  const columns = await db.query(
    `select table_name, column_name
     from information_schema.columns
     where table_schema = 'public' and column_name like '%job_id' and table_name <> all($1)`,
    [ON_THEIR_OWN],
  )
  const found = columns.map(
    (row: { table_name: string; column_name: string }) => `${row.table_name}.${row.column_name}`,
  )
  t.deepEqual(found.toSorted(), NAMED_BY.map((named) => named.join('.')).toSorted())
})
