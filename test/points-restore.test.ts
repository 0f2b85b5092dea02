import test from 'ava'
import { ADMIN, OPERATOR, openPointRoom } from './harness/point-room.ts'

test.serial('a whole point becomes a new dataset, or leaves none behind', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  const { id } = await room.point('x')
  const failing = await room.points.restore(ADMIN, id, { destination: { newDataset: 'y' } })
  await t.throwsAsync(room.points.restore(ADMIN, id, { destination: { newDataset: 'y' } }), { code: 'exists' })
  await room.fail(failing.jobId, { code: 'no_space', message: 'full' })
  await t.throwsAsync(room.datasets.get(ADMIN, 'y'), { code: 'not_found' })

  const retried = await room.jobs.retry(ADMIN, failing.jobId)
  t.like(retried.spec, { kind: 'point.restore', paths: [], destination: { kind: 'new', place: { pool: 'a-pool' } } })
  await room.succeed(retried.id, { files: 3, bytes: 9, made: { rootInode: 300, mountpoint: '/pool/y' } })
  t.like(await room.datasets.get(ADMIN, 'y'), { state: 'available', rootInode: 300, mountpoint: '/pool/y', host: 'a' })

  const wrong = [
    { destination: { newDataset: 'z', host: 'b' } },
    { destination: { newDataset: 'z', pool: 'b-pool' } },
    { destination: { newDataset: 'z' }, paths: ['etc'] },
  ]
  for (const request of wrong) await t.throwsAsync(room.points.restore(ADMIN, id, request), { code: 'invalid' })
})

test.serial('parts of a point are restored into a dataset, or onto the host where it allows that', async (t) => {
  const room = await openPointRoom(t)
  await room.dataset('x')
  await room.dataset('far', 'b')
  const { id } = await room.point('x')
  const inside = { dataset: 'x', path: '/restored' }
  const { jobId } = await room.points.restore(ADMIN, id, {
    paths: ['/etc/', './home'],
    destination: inside,
    overwrite: true,
  })
  const { spec } = await room.sent(jobId)
  t.like(spec, { paths: ['etc', 'home'], destination: { kind: 'dataset', path: '/restored' }, overwrite: true })
  const held = await room.db.query('select exclusive from lane_hold where job_id = $1 order by exclusive', [jobId])
  t.deepEqual(held, [{ exclusive: false }, { exclusive: true }])

  const onHost = (path: string, host = 'a') => ({ destination: { host, path } })
  await t.notThrowsAsync(room.points.restore(ADMIN, id, onHost('/tmp/here')))
  await t.throwsAsync(room.points.restore(OPERATOR, id, onHost('/tmp/here')), { code: 'refused' })
  await t.throwsAsync(room.points.restore(ADMIN, id, onHost('/etc/here')), { code: 'refused' })
  await t.throwsAsync(room.points.restore(ADMIN, id, onHost('/tmp/../etc')), { code: 'invalid' })
  await t.throwsAsync(room.points.restore(ADMIN, id, onHost('/tmp/here', 'b')), { code: 'invalid' })
  await t.throwsAsync(room.points.restore(ADMIN, id, onHost('/tmp/here', 'nobody')), { code: 'not_found' })
  const far = { destination: { dataset: 'far', path: '/' } }
  await t.throwsAsync(room.points.restore(ADMIN, id, far), { code: 'invalid' })
})

test.serial(
  'paths that could be in no point are refused when they are asked for, and when a job is tried again',
  async (t) => {
    const room = await openPointRoom(t)
    await room.dataset('x')
    const { id } = await room.point('x')
    const destination = { dataset: 'x', path: '/restored' }
    for (const path of ['.', './.', '..', '../etc', 'a/../b', 'a/./b', 'a//b', 'a/.']) {
      const error = await t.throwsAsync(
        room.points.restore(ADMIN, id, { paths: ['etc', path], destination }),
        undefined,
        path,
      )
      t.like(error, { code: 'invalid', field: 'paths.1' }, path)
      const files = room.points.files(ADMIN, id, { path, limit: 10 })
      t.like(await t.throwsAsync(files, undefined, path), { code: 'invalid', field: 'path' }, path)
    }
    for (const paths of [['/'], ['.//etc/'], ['...', '.hidden/..x']])
      await t.notThrowsAsync(room.points.restore(ADMIN, id, { paths, destination }))

    const { jobId } = await room.points.restore(ADMIN, id, { paths: ['etc'], destination })
    await room.db.query(`update job set request = jsonb_set(request, '{paths}', '["a//b"]') where id = $1`, [jobId])
    await room.fail(jobId, { code: 'not_found', message: "'a//b' is not in this point" })
    t.like(await t.throwsAsync(room.jobs.retry(ADMIN, jobId)), { code: 'invalid', field: 'paths.0' })
  },
)
