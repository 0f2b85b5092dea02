import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { runRestoreScript } from '../harness/archive.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { litterIn, type PointUser, pointHost, pointUser, sameTree, tidy, treeOf } from '../harness/point-fleet.ts'
import { sharedFleet } from '../harness/shared-fleet.ts'
import { type Place, stepsIn } from '../harness/steps.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'

const lacks =
  lacksServers() ??
  lacksTool('mkfs.btrfs', 'zstd', 'setfacl', 'getfattr') ??
  (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root')
const serially = testUnless(lacks)

const at = sharedFleet(test, (scope) => {
  if (lacks !== undefined) return undefined
  const steps = stepsIn(temporaryDirectory(scope))
  const host = pointHost(scope, { environment: steps.environment })
  return { host, steps, agents: [host.wish] }
})

const world = (t: ExecutionContext) => {
  const shared = at(t)
  return { ...shared, user: pointUser(t, shared.fleet) }
}
type World = ReturnType<typeof world>

/** A dataset with a little of everything that pipelines treat differently. */
async function source(user: PointUser, name: string): Promise<string> {
  const path = await user.dataset(name)
  mkdirSync(join(path, 'dir', 'sub'), { recursive: true })
  for (let n = 0; n < 30; n += 1) writeFileSync(join(path, 'dir', `file-${n}`), `${n}`.repeat(1000))
  writeFileSync(join(path, 'dir', 'sub', 'deep'), 'deep')
  return path
}

const nothing = async () => undefined

interface Asked {
  readonly jobId: string
  /** What must hold once the job has succeeded. */
  holds(): Promise<void>
}

/** Kills the agent at every step of what `ask` asks for: each time the job ends well, once, and nothing is left. */
async function killEverywhere<Ready>(
  t: ExecutionContext,
  { fleet, host, steps }: World,
  ask: (ready: Ready) => Promise<Asked>,
  prepare: () => Promise<Ready>,
) {
  const ready = await prepare()
  steps.passed()
  const first = await ask(ready)
  t.is((await fleet.ended(first.jobId)).state, 'succeeded')
  await first.holds()
  const passed = steps.passed()
  // Before the first step nothing has happened yet.
  const gates = passed.filter((gate, index) => (gate.startsWith('before') ? index > 0 : index === passed.length - 1))
  t.true(gates.length > 0, passed.join())
  t.log(gates.join(', '))
  for (const gate of gates) {
    const [place = '', ...words] = gate.split(' ')
    const next = await prepare()
    // as: steps.ts wrote it so
    steps.set({ step: words.join(' '), place: place as Place, act: { killAfterMs: 0 } })
    const { jobId, holds } = await ask(next)
    await steps.died(fleet.agent(host.wish.name))
    await fleet.ready({ agent: host.wish.name })
    const job = await fleet.ended(jobId, 60_000)
    t.is(job.state, 'succeeded', `${gate}: ${JSON.stringify(job.error)}`)
    await holds()
    await tidy(t, fleet, host)
  }
}

async function posted({ fleet }: World, path: string, body?: unknown): Promise<{ id: string; job_id: string }> {
  const answer = await fleet.call('POST', `/api/v1/points${path}`, body)
  if (answer.status !== 202) throw new Error(`${path}: ${JSON.stringify(answer.body)}`)
  return answer.body
}

function sameByScript(t: ExecutionContext, { host }: World, from: string, tree: string): void {
  const into = join(host.outside, 'script')
  runRestoreScript(from, into, join(host.outside, 'bin'))
  sameTree(t, into, tree)
  for (const name of ['script', 'bin']) rmSync(join(host.outside, name), { recursive: true })
}

serially('killed at every step of a backup', async (t) => {
  const here = world(t)
  const path = await source(here.user, 'create')
  await here.user.good({ source: { dataset: 'create' } })
  let round = 0
  await killEverywhere(
    t,
    here,
    async () => {
      round += 1
      writeFileSync(join(path, `round-${round}`), 'new')
      rmSync(join(path, 'dir', `file-${round}`))
      const tree = treeOf(path)
      const told = await posted(here, '', { source: { dataset: 'create' }, incremental: true })
      return {
        jobId: told.job_id,
        async holds() {
          const point = await here.user.get(told.id)
          t.is(point.status, 'good')
          t.is(point.chain.length, round)
          sameByScript(t, here, point.location.path, tree)
        },
      }
    },
    nothing,
  )
  const { body } = await here.fleet.call('GET', '/api/v1/points?source=create')
  t.is(body.items.length, round + 1)
  const [{ location }] = body.items
  const beside = readdirSync(join(location.path, '..')).filter((name) => !name.startsWith('image'))
  t.is(beside.length, round + 2, 'every point once, and what tells of them')
})

serially('killed in the middle of writing and of reading much', async (t) => {
  const here = world(t)
  const path = await here.user.dataset('large')
  const bytes = Buffer.alloc(30_000_000)
  for (let index = 0; index < bytes.length; index += 4)
    bytes.writeUInt32LE(Math.imul(index, 2_654_435_761) >>> 0, index)
  writeFileSync(join(path, 'large'), bytes)
  const tree = treeOf(path)
  const first = await here.user.make({ source: { dataset: 'large' } })
  const phase = (name: string, phases: readonly { name: string; seconds: number }[]) =>
    1000 * (phases.find((one) => one.name === name)?.seconds ?? 0.1)
  const writeMs = phase('write', first.job.phases)
  for (const part of [0.1, 0.4, 0.8]) {
    here.steps.set({ step: 'write', place: 'before', act: { killAfterMs: 1 + part * writeMs } })
    const told = await posted(here, '', { source: { dataset: 'large' } })
    await here.steps.died(here.fleet.agent('a'))
    await here.fleet.ready({ agent: 'a' })
    t.is((await here.fleet.ended(told.job_id)).state, 'succeeded')
    sameByScript(t, here, (await here.user.get(told.id)).location.path, tree)
    await tidy(t, here.fleet, here.host)
  }
})

serially('killed at every step of a restore into a dataset, over what was there', async (t) => {
  const here = world(t)
  const path = await source(here.user, 'whole')
  const tree = treeOf(path)
  const { id } = await here.user.good({ source: { dataset: 'whole' } })
  const other = await here.user.dataset('other')
  await killEverywhere(
    t,
    here,
    async () => {
      rmSync(join(other, 'there'), { recursive: true, force: true })
      mkdirSync(join(other, 'there', 'old'), { recursive: true })
      const destination = { dataset: 'other', path: '/there' }
      const told = await posted(here, `/${id}/restore`, { destination, overwrite: true })
      return {
        jobId: told.job_id,
        async holds() {
          sameTree(t, join(other, 'there'), tree)
          t.deepEqual(litterIn(other), [])
          t.deepEqual(readdirSync(other), ['there'])
        },
      }
    },
    nothing,
  )
})

serially('killed at every step of a restore into a new dataset', async (t) => {
  const here = world(t)
  const path = await source(here.user, 'model')
  const tree = treeOf(path)
  const { id } = await here.user.good({ source: { dataset: 'model' } })
  let round = 0
  await killEverywhere(
    t,
    here,
    async () => {
      round += 1
      const name = `made-${round}`
      const told = await posted(here, `/${id}/restore`, { destination: { new_dataset: name } })
      return {
        jobId: told.job_id,
        async holds() {
          const { body } = await here.fleet.call('GET', `/api/v1/datasets/${name}`)
          sameTree(t, body.mountpoint, tree)
        },
      }
    },
    nothing,
  )
})

serially('killed at every step of a verification and a rehearsal', async (t) => {
  const here = world(t)
  await source(here.user, 'proved')
  const { id } = await here.user.good({ source: { dataset: 'proved' } })
  for (const [act, mark] of [
    ['verify', 'verified_at'],
    ['rehearse', 'rehearsed_at'],
  ] as const) {
    let last = ''
    await killEverywhere(
      t,
      here,
      async () => ({
        jobId: (await posted(here, `/${id}/${act}`)).job_id,
        async holds() {
          const { [mark]: when } = await here.user.get(id)
          t.true(when > last)
          last = when
        },
      }),
      nothing,
    )
  }
})

serially('killed at every step of a deletion', async (t) => {
  const here = world(t)
  await source(here.user, 'removed')
  const kept = await here.user.good({ source: { dataset: 'removed' } })
  const remove = async ({ id, location }: Awaited<ReturnType<PointUser['good']>>) => {
    const answer = await here.fleet.call('DELETE', `/api/v1/points/${id}`)
    t.is(answer.status, 202)
    return {
      jobId: answer.body.job_id,
      async holds() {
        t.is((await here.fleet.call('GET', `/api/v1/points/${id}`)).status, 404)
        t.false(existsSync(location.path))
        t.true(existsSync(kept.location.path))
      },
    }
  }
  await killEverywhere(t, here, remove, () => here.user.good({ source: { dataset: 'removed' } }))
})

serially('killed again and again while a chain is brought together', async (t) => {
  const here = world(t)
  const path = await source(here.user, 'long')
  const points = [await here.user.good({ source: { dataset: 'long' } })]
  const next = async () => {
    writeFileSync(join(path, `round-${points.length}`), 'new')
    rmSync(join(path, `round-${points.length - 1}`), { force: true })
    return posted(here, '', { source: { dataset: 'long' }, incremental: true })
  }
  here.steps.passed()
  for (;;) {
    const held = points.length >= CHAIN
    if (held) here.steps.set({ step: 'write', place: 'before', act: { killAfterMs: 5 } })
    const told = await next()
    if (held) {
      for (const gate of [
        { step: 'write', place: 'after', act: { killAfterMs: 0 } },
        { step: 'commit', place: 'after', act: { killAfterMs: 0 } },
        { step: 'settle', place: 'after', act: { killAfterMs: 0 } },
      ] as const) {
        await here.steps.died(here.fleet.agent('a'))
        here.steps.set(gate)
        await here.fleet.ready({ agent: 'a' })
      }
      await here.steps.died(here.fleet.agent('a'))
      await here.fleet.ready({ agent: 'a' })
    }
    const job = await here.fleet.ended(told.job_id)
    t.is(job.state, 'succeeded', JSON.stringify(job.error))
    const point = await here.user.get(told.id)
    t.is(point.status, 'good')
    points.push(point)
    if (held) break
    t.is(point.chain.length, points.length - 1)
  }
  const [merged] = points.toReversed()
  t.true(merged.synthetic, JSON.stringify(merged))
  t.deepEqual(merged.chain, [])
  sameByScript(t, here, merged.location.path, treeOf(path))
  await next().then(({ job_id }) => here.fleet.ended(job_id))
  const { body } = await here.fleet.call('GET', '/api/v1/points?source=long&limit=1')
  t.deepEqual(body.items[0].chain, [merged.id])
  sameByScript(t, here, body.items[0].location.path, treeOf(path))
  await tidy(t, here.fleet, here.host)
})
/** Points that a restore may have to read before they are brought together. */
const CHAIN = 16
