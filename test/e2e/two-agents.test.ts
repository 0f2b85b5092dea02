import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { startFleet } from '../harness/fleet.ts'
import { canMount, mountLoop } from '../harness/loop-mount.ts'

const ATTEMPTS = 5

test('200 mixed operations at once over two agents and two control planes: nothing lost, nothing done twice', async (t) => {
  if (!canMount(t)) return t.pass()
  const pools = [mountLoop(t, 'btrfs'), mountLoop(t, 'xfs')]
  const [first = '', second = ''] = pools
  const fleet = await startFleet(t, {
    planes: 2,
    agents: [
      { name: 'a', driver: 'btrfs', path: first },
      { name: 'b', driver: 'reflink', path: second },
    ],
  })
  const names = Array.from({ length: 10 }, (_, n) => `set-${n}`)
  for (const [n, name] of names.entries()) {
    const { status, body } = await fleet.call('POST', '/api/v1/datasets', { name, host: n % 2 === 0 ? 'a' : 'b' })
    t.is(status, 201)
    writeFileSync(join(body.mountpoint, 'data'), name)
    t.is(
      (await fleet.call('POST', '/api/v1/snapshots', { source: name, name: `${name}.base`, readonly: true })).status,
      201,
    )
  }

  const operations = names.flatMap((name) =>
    Array.from({ length: 20 }, (_, n) => {
      if (n % 4 === 0)
        return { method: 'POST', path: '/api/v1/snapshots', body: { source: name, name: `${name}.s${n}` } }
      if (n % 4 === 1)
        return { method: 'POST', path: '/api/v1/clone', body: { source: `${name}.base`, destination: `${name}.c${n}` } }
      const destination = `/restored-${n}`
      return {
        method: 'POST',
        path: '/api/v1/snapshots/restore',
        body: { snapshot: `${name}.base`, source: '/data', destination },
      }
    }),
  )
  // A host that is kept from its processor for long is taken for silent: what it was asked for is withdrawn, and asked for again.
  let withdrawn = 0
  const ask = async ({ method, path, body }: (typeof operations)[number], plane: number) => {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await fleet.call(method, path, body, { plane })
      if (answer.status !== 503 || attempt === ATTEMPTS) return answer
      withdrawn += 1
      // Its agent has confirmed that it will not come to pass, or that it had.
      await fleet.quiet(60_000)
    }
  }
  const answers = await Promise.all(operations.map((operation, n) => ask(operation, n % 2)))
  t.deepEqual(
    answers.filter((answer) => answer.status >= 300 && !(withdrawn > 0 && answer.status === 409)),
    [],
  )
  await fleet.quiet(60_000)

  const { body: all } = await fleet.call('GET', '/api/v1/datasets')
  t.is(all.datasets.length, 1 + names.length * (1 + 1 + 5 + 5))
  t.is(new Set(all.datasets.map((d: { id: number }) => d.id)).size, all.datasets.length)
  const onDisk = pools.flatMap((pool) => readdirSync(join(pool, 'datasets')))
  t.is(onDisk.length, all.datasets.length)
  t.deepEqual(
    onDisk.filter((name) => name.includes('partial')),
    [],
  )
  for (const name of names) {
    const root = all.datasets.find((d: { name: string }) => d.name === name).mountpoint
    t.is(readdirSync(root).length, 1 + 10)
  }
  const jobs = await fleet.sql(`select state, count(*)::int as n from job group by state`)
  const count = (state: string) => jobs.find((row) => row.state === state)?.n ?? 0
  t.is(count('succeeded'), 1 + 20 + 200)
  const others = jobs.reduce((sum, { n }) => sum + n, -count('succeeded'))
  t.true(others <= withdrawn, JSON.stringify({ jobs, withdrawn }))
})
