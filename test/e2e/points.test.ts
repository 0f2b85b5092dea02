import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { makeNastyTree, runRestoreScript } from '../harness/archive.ts'
import { litterIn, newDirectory, pointHost, pointUser, sameTree, tidy, treeOf } from '../harness/point-fleet.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { startStopwatch } from '../harness/stopwatch.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { listen, toldWhole } from '../harness/told.ts'
import { until } from '../harness/until.ts'

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'setfacl', 'getfattr', 'python3', 'zstd') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const serially = testUnless(lacks)
const at = sharedFleet(test, (scope) => {
  if (lacks !== undefined) return undefined
  const host = pointHost(scope)
  return { host, agents: [host.wish] }
})

/** The chain that the tests of this file share: a full point and two increments of `source`, and what each of them is of. */
interface Story {
  readonly source: string
  readonly points: readonly { readonly id: string; readonly tree: string }[]
}
let story: Story | undefined

function told(t: ExecutionContext) {
  if (story === undefined) throw new Error('the first test of this file must have passed')
  const shared = at(t)
  return { ...shared, ...story, user: pointUser(t, shared.fleet) }
}

/** Changes of every kind. */
function change(source: string, round: number): void {
  writeFileSync(join(source, 'plain'), `changed ${round}`)
  writeFileSync(join(source, `new-${round}`), 'new')
  mkdirSync(join(source, `dir-${round}`, 'sub'), { recursive: true })
  writeFileSync(join(source, `dir-${round}`, 'sub', 'file'), `${round}`)
  writeFileSync(join(source, 'd', `empty-${round}`), '')
  if (round === 1) {
    rmSync(join(source, 'd', 'e'), { recursive: true })
    rmSync(join(source, 'hard1'))
    renameSync(join(source, 'big'), join(source, 'renamed'))
  } else {
    renameSync(join(source, 'dir-1'), join(source, 'moved'))
    rmSync(join(source, 'new-1'))
    mkdirSync(join(source, 'new-1'))
  }
}

serially('a full point and two increments, each told from its order to its end', async (t) => {
  const { fleet, host } = at(t)
  const user = pointUser(t, fleet)
  const source = await user.dataset('source')
  makeNastyTree(source)
  const told = await listen(t, fleet)
  const points: { id: string; tree: string }[] = []
  const jobs: string[] = []
  for (const round of [0, 1, 2]) {
    if (round > 0) change(source, round)
    const tree = treeOf(source)
    const { point, job } = await user.make({ source: { dataset: 'source' }, incremental: true })
    t.is(point.status, 'good', JSON.stringify(point))
    t.deepEqual(
      point.chain,
      points.map(({ id }) => id),
    )
    t.is(job.state, 'succeeded')
    t.true(job.phases.length > 1, JSON.stringify(job.phases))
    t.is(point.consistency, 'crash')
    t.true(point.size_bytes > 0 && point.source_bytes > 0)
    t.is(treeOf(source), tree, 'a backup changes nothing of what it reads')
    points.push({ id: point.id, tree })
    jobs.push(job.id)
  }
  await until('every end was told', () => jobs.every((jobId) => toldWhole(told, jobId)))
  await tidy(t, fleet, host)
  story = { source, points }
})

serially('points are listed, newest first, and one is shown with its ETag', async (t) => {
  const { fleet, points } = told(t)
  const ids = points.map(({ id }) => id).toReversed()
  const { body } = await fleet.call('GET', '/api/v1/points?source=source&target=local')
  t.deepEqual(
    body.items.map((point: { id: string }) => point.id),
    ids,
  )
  const page = (await fleet.call('GET', '/api/v1/points?limit=2')).body
  const rest = (await fleet.call('GET', `/api/v1/points?limit=2&cursor=${page.next_cursor}`)).body
  t.deepEqual(
    [...page.items, ...rest.items].map((point) => point.id),
    ids,
  )
  t.deepEqual((await fleet.call('GET', '/api/v1/points?source=nothing')).body.items, [])
  const one = await fleet.call('GET', `/api/v1/points/${ids[0]}`)
  const etag = one.headers.get('etag') ?? ''
  t.is(
    (await fleet.call('GET', `/api/v1/points/${ids[0]}`, undefined, { headers: { 'if-none-match': etag } })).status,
    304,
  )
})

serially('an archive on the disk is restored with tar, zstd and sha256sum alone', async (t) => {
  const { host, points, user } = told(t)
  for (const [n, { id, tree }] of points.entries()) {
    const { location } = await user.get(id)
    t.is(location.host, host.wish.name)
    t.true(location.path.startsWith(host.backups))
    const into = join(host.outside, `script-${n}`)
    runRestoreScript(location.path, into, join(host.outside, `bin-${n}`))
    sameTree(t, into, tree)
    rmSync(into, { recursive: true })
  }
})

serially('files are browsed, searched and compared without restoring', async (t) => {
  const { fleet, points, source, user } = told(t)
  const [first, , last] = points
  const list = async (id: string | undefined, query: string) => {
    const paths: string[] = []
    let cursor = ''
    do {
      const { status, body } = await fleet.call('GET', `/api/v1/points/${id}/files?limit=7${query}${cursor}`)
      t.is(status, 200, JSON.stringify(body))
      paths.push(...body.items.map((file: { path: string; path_base64?: string }) => nameOf(file)))
      cursor = body.next_cursor === null ? '' : `&cursor=${encodeURIComponent(body.next_cursor)}`
    } while (cursor !== '')
    return paths
  }
  const onDisk = (path: string) =>
    readdirSync(join(source, path), { encoding: 'buffer' }).map((name) => name.toString('latin1'))
  t.deepEqual((await list(last?.id, '')).toSorted(), onDisk('').toSorted())
  t.deepEqual(
    (await list(last?.id, '&path=/d/')).toSorted(),
    onDisk('d')
      .map((name) => `d/${name}`)
      .toSorted(),
  )
  t.deepEqual(await list(last?.id, '&search=EMPTYD'), ['emptydir'])
  t.true((await list(first?.id, '&path=d/e')).includes('d/e/f'))
  const gone = await fleet.call('GET', `/api/v1/points/${last?.id}/files?path=d/e`)
  t.is(gone.status, 404)
  const { body } = await fleet.call('GET', `/api/v1/points/${first?.id}/diff/${last?.id}?limit=500`)
  const kinds = new Map(
    body.items.map((item: { kind: string; before?: { path: string }; after?: { path: string } }) => [
      item.after?.path ?? item.before?.path,
      item.kind,
    ]),
  )
  t.is(kinds.get('plain'), 'content')
  t.is(kinds.get('d/e'), 'removed')
  t.is(kinds.get('moved/sub/file'), 'added')
  t.is(kinds.get('new-2'), 'added')
  t.false(kinds.has('sparse'))
  t.true((await user.get(last?.id ?? '')).members > 0)
})

const base64Of = (path: string) => Buffer.from(path, 'latin1').toString('base64')

const nameOf = ({ path, path_base64 }: { readonly path: string; readonly path_base64?: string }) =>
  path_base64 === undefined
    ? Buffer.from(path).toString('latin1')
    : Buffer.from(path_base64, 'base64').toString('latin1')

serially('a point is verified and rehearsed, and keeps when that was', async (t) => {
  const { fleet, host, points, user } = told(t)
  const id = points.at(-1)?.id ?? ''
  const before = await user.get(id)
  t.is(before.verified_at, null)
  t.is(before.rehearsed_at, null)
  await user.done(`/${id}/verify`)
  await user.done(`/${id}/rehearse`)
  const after = await user.get(id)
  t.true(Date.parse(after.verified_at) > 0 && Date.parse(after.rehearsed_at) > 0)
  t.true(after.recovery_seconds > 0)
  await tidy(t, fleet, host)
})

serially(
  'restored whole, in part and as one file; into datasets that are, one that was not, and a directory',
  async (t) => {
    const { fleet, host, points, source, user } = told(t)
    const [first, , last] = points
    const other = await user.dataset('other')
    const restore = (id: string | undefined, body: object) => user.done(`/${id}/restore`, body)
    await restore(first?.id, { destination: { dataset: 'other', path: '/first' } })
    sameTree(t, join(other, 'first'), first?.tree ?? '')
    await restore(last?.id, { destination: { new_dataset: 'reborn' } })
    sameTree(t, (await fleet.call('GET', '/api/v1/datasets/reborn')).body.mountpoint, last?.tree ?? '')
    const onHost = (name: string) => ({ host: host.wish.name, path: join(host.outside, name) })
    await restore(last?.id, { paths: ['moved'], destination: onHost('moved') })
    sameTree(t, join(host.outside, 'moved'), treeOf(join(source, 'moved')))
    const unsafe = await user.work(`/${last?.id}/restore`, { destination: onHost('whole') })
    t.is(unsafe.error?.code, 'refused', 'links out of the tree and devices are not let onto the host')
    t.false(existsSync(join(host.outside, 'whole')))

    await restore(last?.id, { paths: ['/moved'], destination: { dataset: 'other', path: '/moved' } })
    t.is(readFileSync(join(other, 'moved', 'sub', 'file'), 'utf8'), '1')
    await restore(first?.id, { paths: ['plain'], destination: { dataset: 'other', path: '/one' } })
    t.is(readFileSync(join(other, 'one'), 'utf8'), 'hello')
    await restore(last?.id, { paths: ['plain', 'moved/sub'], destination: { dataset: 'other', path: '/some' } })
    t.deepEqual(readdirSync(join(other, 'some'), { recursive: true }).toSorted(), ['plain', 'sub', 'sub/file'])

    const files = `/api/v1/points/${last?.id}/files?limit=500`
    const listed: readonly { path_base64?: string; type: string }[] = (await fleet.call('GET', files)).body.items
    const odd = listed.find(({ path_base64, type }) => path_base64 !== undefined && type === 'file')?.path_base64 ?? ''
    t.is(Buffer.from(odd, 'base64').toString('latin1'), 'inv\xff\xfealid')
    await restore(last?.id, { paths_base64: [odd], destination: { dataset: 'other', path: '/odd' } })
    t.is(readFileSync(join(other, 'odd'), 'utf8'), 'bytes')
    await restore(last?.id, { paths: ['plain'], paths_base64: [odd], destination: { dataset: 'other', path: '/both' } })
    t.deepEqual(readdirSync(join(other, 'both'), { encoding: 'latin1' }).toSorted(), ['inv\xff\xfealid', 'plain'])
    const inBytes = await fleet.call('GET', `${files}&path_base64=${encodeURIComponent(base64Of('moved/sub'))}`)
    t.deepEqual(inBytes.body, (await fleet.call('GET', `${files}&path=moved/sub`)).body)
    t.is(inBytes.body.items.length, 1)
    const both = await fleet.call('GET', `${files}&path=d&path_base64=ZA==`)
    t.like(both, { status: 400, body: { error: { field: 'path_base64' } } })
    for (const [body, field] of [
      [{ paths_base64: [odd] }, 'paths_base64'],
      [{ paths: ['plain'], paths_base64: [odd] }, 'paths'],
    ] as const) {
      const part = { ...body, destination: { new_dataset: 'part' } }
      const refused = await fleet.call('POST', `/api/v1/points/${last?.id}/restore`, part)
      t.like(refused, { status: 400, body: { error: { field } } })
    }
    for (const wrong of ['no base64!', '', ...['..', 'a//b', '/a', 'a/', 'a\0b'].map(base64Of)]) {
      const destination = { dataset: 'other', path: '/wrong' }
      const body = { paths_base64: ['ZA==', wrong], destination }
      const refused = await fleet.call('POST', `/api/v1/points/${last?.id}/restore`, body)
      t.like(refused, { status: 400, body: { error: { field: 'paths_base64.1' } } }, wrong)
    }

    const again = await user.work(`/${last?.id}/restore`, {
      paths: ['plain'],
      destination: { dataset: 'other', path: '/one' },
      overwrite: false,
    })
    t.is(again.state, 'failed')
    t.is(readFileSync(join(other, 'one'), 'utf8'), 'hello')
    await restore(last?.id, { paths: ['plain'], destination: { dataset: 'other', path: '/one' }, overwrite: true })
    t.is(readFileSync(join(other, 'one'), 'utf8'), 'changed 2')
    const led = { destination: { host: host.wish.name, path: '/etc/holdfast' } }
    t.is((await fleet.call('POST', `/api/v1/points/${last?.id}/restore`, led)).status, 403)
    t.false(existsSync('/etc/holdfast'))
    const absent = await user.work(`/${last?.id}/restore`, {
      paths: ['d/e'],
      destination: { dataset: 'other', path: '/absent' },
    })
    t.is(absent.error.code, 'not_found')
    t.deepEqual(litterIn(host.backups, other, host.outside), [])
    await fleet.quiet()
  },
)

serially('a directory of the host is backed up, exactly, and again by what changed', async (t) => {
  const { fleet, host, user } = told(t)
  const path = newDirectory(host.outside, 'etc')
  const source = { host: host.wish.name, path }
  for (let n = 0; n < 40; n += 1) writeFileSync(join(path, `file-${n}`), `${n}`)
  const full = await user.good({ source })
  writeFileSync(join(path, 'file-7'), 'seven')
  rmSync(join(path, 'file-8'))
  const tree = treeOf(path)
  const next = await user.good({ source, incremental: true })
  t.deepEqual(next.chain, [full.id])
  t.true(next.size_bytes < full.size_bytes * 3)
  await user.done(`/${next.id}/restore`, { destination: { new_dataset: 'etc' } })
  sameTree(t, (await fleet.call('GET', '/api/v1/datasets/etc')).body.mountpoint, tree)
  const outside = await fleet.call('POST', '/api/v1/points', { source: { host: host.wish.name, path: '/etc' } })
  t.true([400, 403, 404].includes(outside.status) || (await fleet.ended(outside.body.job_id)).state === 'failed')
  const own = await fleet.call('POST', '/api/v1/points', { source: { host: host.wish.name, path: fleet.state('a') } })
  t.true([400, 403, 404].includes(own.status) || (await fleet.ended(own.body.job_id)).state === 'failed')
})

serially('what others depend on, and what is pinned, stays', async (t) => {
  const { fleet, host, points, user } = told(t)
  const [first, second, last] = points.map(({ id }) => id)
  const places = await Promise.all(points.map(async ({ id }) => (await user.get(id)).location.path))
  const blocked = await fleet.call('DELETE', `/api/v1/points/${first}`)
  t.is(blocked.status, 409)
  t.true(blocked.body.error.blockers.includes(second), JSON.stringify(blocked.body))
  t.is((await fleet.call('PUT', `/api/v1/points/${last}/pin`)).status, 200)
  t.is((await fleet.call('DELETE', `/api/v1/points/${last}`)).status, 409)
  t.true((await user.get(last ?? '')).pinned)
  t.is((await fleet.call('DELETE', `/api/v1/points/${last}/pin`)).status, 200)
  for (const id of [last, second, first]) await user.remove(id ?? '')
  t.deepEqual(
    places.filter((path) => existsSync(path)),
    [],
  )
  await tidy(t, fleet, host)
})

serially('a host that is silent is 503 within five seconds, and what was refused does not run later', async (t) => {
  const { fleet, user } = told(t)
  const { id } = await user.good({ source: { dataset: 'other' } })
  await fleet.agent('a').signal('SIGSTOP')
  const stopwatch = startStopwatch()
  const answers = await Promise.all([
    fleet.call('GET', `/api/v1/points/${id}/files`),
    fleet.call('GET', `/api/v1/points/${id}/diff/${id}`),
    // An order that somebody waits for: its silence makes the host one that is offline.
    fleet.call('POST', '/api/v1/snapshots', { source: 'other', name: 'never' }),
  ])
  t.deepEqual(
    answers.map(({ status }) => status),
    [503, 503, 503],
  )
  t.true(stopwatch.within(5_500), `${stopwatch}`)
  const atOnce = startStopwatch()
  t.is((await fleet.call('POST', '/api/v1/points', { source: { dataset: 'other' } })).status, 503)
  t.is((await fleet.call('POST', `/api/v1/points/${id}/verify`)).status, 503)
  t.is((await fleet.call('DELETE', `/api/v1/points/${id}`)).status, 503)
  t.true(atOnce.within(2_000), `${atOnce}`)
  await fleet.agent('a').signal('SIGKILL')
  await fleet.ready({ agent: 'a' })
  await fleet.quiet()
  const { body } = await fleet.call('GET', '/api/v1/points?source=other')
  t.is(body.items.length, 1)
})
