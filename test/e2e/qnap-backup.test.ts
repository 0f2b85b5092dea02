import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { createExampleRecorder } from '../harness/examples.ts'
import { startFleet, type TestFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { litterIn } from '../harness/point-fleet.ts'
import { readExchanges, replay } from '../harness/replay.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { stepsIn } from '../harness/steps.ts'
import { until } from '../harness/until.ts'

const EXCHANGES = join(import.meta.dirname, '../../control-plane/dialects/qnap/exchanges')
/** No agent goes there, unless it is told to. */
const SILENT = '127.0.0.1:9'
const RUN_MS = 60_000

// biome-ignore lint/suspicious/noExplicitAny: answers as the API shows them
type Shown = any

const at = sharedFleet(test, (scope) => {
  const backups = temporaryDirectory(scope)
  const steps = stepsIn(temporaryDirectory(scope))
  const environment = { HOLDFAST_AGENT_BACKUP_ROOT: backups, ...steps.environment }
  return { backups, steps, agents: [{ name: 'a', driver: 'copy', path: temporaryDirectory(scope), environment }] }
})

function clientOf(t: ExecutionContext) {
  const shared = at(t)
  return { ...shared, user: containerStation(t, shared.fleet) }
}

/** What a client of the Container Station does. */
function containerStation(t: ExecutionContext, fleet: TestFleet) {
  const call = async (method: string, path: string, body?: unknown): Promise<Shown> => {
    const answer = await fleet.call(method, `/container-station/api/v1${path}`, body)
    t.is(answer.status, 200, `${method} ${path}: ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  return {
    call,
    /** Its directory on the host. */
    async dataset(name: string): Promise<string> {
      const { status, body } = await fleet.call('POST', '/api/v1/datasets', { name })
      t.is(status, 201, JSON.stringify(body))
      return body.mountpoint
    },
    backup: (body: object) =>
      call('POST', '/backup/', {
        type: 'dataset',
        dest: { target: 'local', path: '/nightly' },
        at: { repeat: 'daily', start: 60 },
        ...body,
      }),
    /** @returns a backup once nothing is under way, and a restore once it is over. */
    async idle(path: string): Promise<Shown> {
      const isRestore = path.startsWith('/restore')
      let shown: Shown
      await until(
        `${path} is idle`,
        async () => {
          shown = await call('GET', path)
          const { code } = shown.state
          return isRestore ? code === 'completed' : !['waiting', 'running'].includes(code)
        },
        RUN_MS,
      )
      return shown
    },
    runs: async (id: number) => (await fleet.call('GET', `/api/v1/schedules/${id}/runs`)).body.items,
  }
}

/** Polls until `isOver`, each time from the cursor before. @returns all that was told. */
async function follow(fleet: TestFleet, since: string | null, isOver: (told: readonly Shown[]) => boolean) {
  const told: Shown[] = []
  let cursor = since
  while (!isOver(told)) {
    const { status, headers, body } = await fleet.call('GET', `/api/v1/backup/progress?since=${cursor}`)
    if (status !== 200 || body.length === 0) throw new Error(`${status} ${JSON.stringify(body)} after ${told.length}`)
    cursor = headers.get('x-progress-cursor')
    told.push(...body)
  }
  return told
}

test.serial('the documented exchanges about backups, restores and progress', async (t) => {
  const { fleet, user } = clientOf(t)
  await user.dataset('utest')
  const titles = /^(Backups|Restores|Progress):/
  const exchanges = (await readExchanges(EXCHANGES)).filter(({ title }) => titles.test(title))
  t.is(exchanges.length, 3)
  const variables = { silent: SILENT, type: 'dataset', container: 'utest', restored: 'utest-again' }
  const { onStep, compareWith } = createExampleRecorder()
  t.deepEqual(await replay(exchanges, { baseUrl: fleet.url(), token: fleet.token, variables, onStep }), [])
  const file = join(EXCHANGES, '../examples-backups.json')
  t.deepEqual(await compareWith(file), [], 'HOLDFAST_RECORD=1 records them anew')
})

test.serial('a backup runs now, its progress is told to who polls, and it is restored to a new dataset', async (t) => {
  const { fleet, backups, user } = clientOf(t)
  const source = await user.dataset('source-run')
  writeFileSync(join(source, 'file'), 'as it was')
  const { id } = await user.backup({ job_name: 'Job-run', container_id: 'source-run', retention: 2 })
  const now = await fleet.call('GET', '/api/v1/backup/progress?timeout=0')
  const cursor = now.headers.get('x-progress-cursor')
  const asked = await user.call('PUT', `/backup/${id}/run`)
  t.true(['waiting', 'running'].includes(asked.state.code), JSON.stringify(asked.state))
  const told = await follow(fleet, cursor, (all) => all.length > 0)
  t.like(told[0], { id, type: 'backup' })
  const done = await user.idle(`/backup/${id}`)
  t.like(done.state, { code: 'scheduled', result: 0 })
  t.regex(done.state.last_run, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
  t.false('progress' in done.state)
  const [run] = await user.runs(id)
  t.like(run, { trigger: 'manual', state: 'ended', outcome: 'ran', reason: null })
  const { body: point } = await fleet.call('GET', `/api/v1/points/${run.point_id}`)
  t.like(point, { status: 'good', series: 'nightly/container-backup@Job-run', job_id: run.job_id })
  const series = join(backups, readdirSync(backups).find((name) => !name.startsWith('.')) ?? '', point.series)
  t.true(existsSync(join(series, point.name, 'data.tar')), readdirSync(series, { recursive: true }).join())

  writeFileSync(join(source, 'file'), 'changed')
  const made = await user.call('POST', '/restore/', {
    job_name: 'Back',
    container_id: 'again-run',
    type: 'dataset',
    src: { target: 'local', path: '/nightly', portfolio: 'Job-run' },
  })
  const restored = await user.idle(`/restore/${made.id}`)
  t.like(restored.state, { code: 'completed', result: 0 })
  t.true(restored.state.end >= restored.state.start)
  const { body: again } = await fleet.call('GET', '/api/v1/datasets/again-run')
  t.is(readFileSync(join(again.mountpoint, 'file'), 'utf8'), 'as it was')
  const { body: stood } = await fleet.call('GET', '/api/v1/datasets/source-run')
  const over = await user.call('POST', '/restore/', {
    job_name: 'Over',
    container_id: 'source-run',
    type: 'dataset',
    src: { target: 'local', path: '/nightly', portfolio: 'Job-run' },
  })
  t.like((await user.idle(`/restore/${over.id}`)).state, { code: 'completed', result: 0 })
  t.is(readFileSync(join(source, 'file'), 'utf8'), 'as it was')
  const { body: stands } = await fleet.call('GET', '/api/v1/datasets/source-run')
  t.is(stands.mountpoint, stood.mountpoint)
  t.is(stands.root_inode, statSync(source).ino)
  const all = await follow(fleet, cursor, (seen) => seen.some(({ type }) => type === 'restore'))
  t.true(all.some((change) => change.type === 'restore' && change.id === made.id))
  t.deepEqual(await user.call('DELETE', `/restore/${made.id}`), [made.id])
  t.deepEqual(await user.call('DELETE', `/backup/${id}`), [id])
  t.is((await fleet.call('GET', `/api/v1/points/${run.point_id}`)).status, 200, 'what was backed up stays')
  await fleet.quiet()
})

test.serial(
  'what retention took lies in the trash, is had back and goes for good, also where the agent is killed',
  async (t) => {
    const { fleet, user, backups, steps } = clientOf(t)
    const source = await user.dataset('source-kept')
    const { id } = await user.backup({ job_name: 'Kept', container_id: 'source-kept', retention: 2 })
    const points: Shown[] = []
    /** Right behind the rename, before it is told: the next agent must find out. */
    const killBehindMove = () => steps.set({ step: 'move', place: 'after', act: { killAfterMs: 0 } })
    const revived = async () => {
      await steps.died(fleet.agent('a'))
      await fleet.ready({ agent: 'a' })
    }
    for (const round of [1, 2, 3]) {
      writeFileSync(join(source, 'file'), `${round}`)
      if (round === 3) killBehindMove()
      await user.call('PUT', `/backup/${id}/run`)
      t.is((await user.idle(`/backup/${id}`)).state.result, 0)
      const { body } = await fleet.call('GET', `/api/v1/points/${(await user.runs(id))[0].point_id}`)
      points.push(body)
    }
    const [first, ...kept] = points
    const path = `/api/v1/points/${first.id}`
    const shown = async () => (await fleet.call('GET', path)).body
    const preview = async () => (await fleet.call('GET', `/api/v1/schedules/${id}/retention-preview`)).body
    const home = join(backups, first.group_id, first.series)
    const trash = join(backups, first.group_id, '.trash')
    const inSeries = () =>
      readdirSync(home)
        .filter((name) => /^\d/.test(name))
        .toSorted()
    const told = () => JSON.parse(readFileSync(join(home, 'backup-metadata'), 'utf8')).points
    const names = (of: readonly Shown[]) => of.map(({ name }) => name).toSorted()
    const dirs = async (of = '') => user.call('GET', `/target/local/dirs${of}?host=a`)

    await revived()
    await until('it is known to be in the trash', async () => (await shown()).location.path.includes('.trash'), RUN_MS)
    t.deepEqual(readdirSync(join(trash, first.series)), [first.name])
    t.deepEqual(inSeries(), names(kept))
    t.deepEqual(names(told()), names(kept))
    t.false((await dirs()).some((entry: Shown) => entry.name.startsWith('.')))
    t.is((await fleet.call('GET', `/container-station/api/v1/target/local/dirs/.trash?host=a`)).status, 400)
    const { trashed, keep, delete: goes } = await preview()
    t.is(trashed[0].id, first.id)
    t.deepEqual(keep.map((point: { id: string }) => point.id).toSorted(), kept.map((point) => point.id).toSorted())
    t.deepEqual(goes, [])
    t.is((await fleet.call('POST', `${path}/verify`)).status, 409)

    killBehindMove()
    const back = await fleet.call('POST', `${path}/untrash`)
    t.like(back, { status: 202, body: { id: first.id, pinned: true, status: 'good', returning: true } })
    t.deepEqual((await preview()).trashed, [])
    await revived()
    await until('it is back', async () => (await shown()).trashed_at === null, RUN_MS)
    t.like(await shown(), { returning: false, pinned: true, location: { path: join(home, first.name) } })
    t.false(existsSync(trash))
    t.deepEqual(names(told()), names(points))
    t.is((await fleet.call('POST', `${path}/untrash`)).status, 409)
    const { body: verify } = await fleet.call('POST', `${path}/verify`)
    t.is((await fleet.ended(verify.job_id)).state, 'succeeded')

    await fleet.call('DELETE', `${path}/pin`)
    await user.call('PUT', `/backup/${id}/run`)
    await until(
      'two are in the trash',
      () => existsSync(trash) && readdirSync(join(trash, first.series)).length === 2,
      RUN_MS,
    )
    await until('that is known', async () => (await shown()).location.path.includes('.trash'), RUN_MS)
    await fleet.quiet()
    // Their window ends.
    await fleet.sql(`update point set purge_at = now() where trashed_at is not null`)
    await until(
      'the trash is empty',
      async () => !existsSync(trash) && (await fleet.call('GET', path)).status === 404,
      RUN_MS,
    )
    t.is(inSeries().length, 2)
    t.deepEqual(litterIn(backups), [])
    await fleet.quiet()
  },
)

test.serial('a backup whose host is away waits, is not run twice or deleted, and stops', async (t) => {
  const { fleet, user } = clientOf(t)
  await user.dataset('source-away')
  const { id } = await user.backup({ job_name: 'Job-away', container_id: 'source-away' })
  await fleet.agent('a').signal('SIGKILL')
  // An order that it does not answer tells sooner than its beats.
  t.is((await fleet.call('POST', '/api/v1/snapshots', { source: 'source-away', name: 'never' })).status, 503)
  const isOffline = async () => (await fleet.call('GET', '/api/v1/hosts/a')).body.state === 'offline'
  await until('the host is offline', isOffline, 60_000)
  t.like((await user.call('PUT', `/backup/${id}/run`)).state, { code: 'waiting', progress: -1 })
  t.is((await fleet.call('PUT', `/api/v1/backup/${id}/run`)).status, 409)
  t.like(await fleet.call('DELETE', `/api/v1/backup/${id}`), { status: 409, body: { error: { code: 409 } } })
  const stopped = await user.call('PUT', `/backup/${id}/stop`)
  t.like(stopped.state, { code: 'scheduled', result: -2 })
  t.like((await user.runs(id))[0], { trigger: 'manual', state: 'ended', outcome: 'stopped' })
  t.like((await user.call('PUT', `/backup/${id}`, { disable: true })).state, { result: -2 })
  t.deepEqual(await user.call('DELETE', `/backup/${id}`), [id])
  await fleet.ready({ agent: 'a' })
})

test.serial(
  'what is stopped while it runs leaves nothing behind, and what it would have replaced as it was',
  async (t) => {
    const { fleet, backups, steps, user } = clientOf(t)
    writeFileSync(join(await user.dataset('source-stop'), 'file'), 'as it was')
    const { id } = await user.backup({ job_name: 'Job-stop', container_id: 'source-stop' })
    const hold = (step: string) => steps.set({ step, place: 'before', act: 'hold' })
    const stop = async (path: string) => {
      t.is((await user.call('GET', path)).state.code, 'running')
      t.is((await fleet.call('DELETE', `/api/v1${path}`)).status, 409)
      await user.call('PUT', `${path}/stop`)
      steps.open()
      t.is((await user.idle(path)).state.result, -2)
    }
    hold('commit')
    await user.call('PUT', `/backup/${id}/run`)
    await steps.held()
    await stop(`/backup/${id}`)
    await fleet.quiet()
    t.deepEqual(litterIn(backups), [])
    t.like((await user.runs(id))[0], { outcome: 'stopped' })
    await user.call('PUT', `/backup/${id}/run`)
    t.is((await user.idle(`/backup/${id}`)).state.result, 0, 'the next run is good')
    hold('stage')
    const src = { target: 'local', path: '/nightly', portfolio: 'Job-stop' }
    const made = await user.call('POST', '/restore', {
      job_name: 'B',
      container_id: 'again-stop',
      type: 'dataset',
      src,
    })
    await steps.held()
    await stop(`/restore/${made.id}`)
    await fleet.quiet()
    t.is((await fleet.call('GET', '/api/v1/datasets/again-stop')).status, 404)
  },
)

test.serial('a portfolio that names nothing fails the restore, and says so', async (t) => {
  const { fleet, user } = clientOf(t)
  const made = await user.call('POST', '/restore', {
    job_name: 'Back',
    container_id: 'again-none',
    type: 'dataset',
    src: { target: 'local', path: '/nightly', portfolio: 'Nobody/20260102T030405Z' },
  })
  const { state } = await user.idle(`/restore/${made.id}`)
  t.like(state, { code: 'completed', result: -1 })
  t.true(state.reason.length > 0)
  t.is((await fleet.call('GET', '/api/v1/datasets/again-none')).status, 404)
})

test.serial('minutes are minutes where the server is told so', async (t) => {
  const fleet = await startFleet(t, {
    agents: [{ name: 'a', driver: 'sim' }],
    environment: { HOLDFAST_QNAP_START_UNIT: 'minutes' },
  })
  const user = containerStation(t, fleet)
  await user.dataset('source')
  const made = await user.backup({ job_name: 'Job', container_id: 'source' })
  t.regex(made.state.next_run, / 01:00:00$/)
  const { body } = await fleet.call('PUT', `/api/v1/backup/${made.id}`, { at: { start: 1440 } })
  t.regex(body.error.message, /^at\.start: must be whole minutes/)
})
