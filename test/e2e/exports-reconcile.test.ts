import { startFleet } from '../harness/fleet.ts'
import { mountLoop } from '../harness/loop-mount.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const it = testUnless(
  lacksServers() ??
    lacksTool('mkfs.btrfs', 'tgtd') ??
    (process.geteuid?.() === 0 ? undefined : 'mounting a loop image needs root'),
)

const WAIT_MS = 90_000
const WWN = 'iqn.2026-01.test:kept'
const [OLD, NEW] = ['iqn.2026-01.test:old', 'iqn.2026-01.test:new']

it('a host whose beats tell of other exports than the database is told those, once', async (t) => {
  const pool = mountLoop(t, 'btrfs', 512 * 2 ** 20)
  const fleet = await startFleet(t, { agents: [{ name: 'alpha', driver: 'btrfs', path: pool }] })
  const made = await fleet.call('POST', '/api/v1/volumes', { name: 'v', size_bytes: 4 * 2 ** 20 })
  t.is(made.status, 201, JSON.stringify(made.body))
  const asked = { volume: 'alpha-pool/v', wwn: WWN, initiators: [OLD], chap: { user: 'u', secret: 'a-long-secret' } }
  const exported = await fleet.call('POST', '/api/v1/exports', asked)
  t.is(exported.status, 201, JSON.stringify(exported.body))

  const reconciled = () => fleet.sql(`select state, result from job where kind = 'export.reconcile' order by ordinal`)
  await fleet.sql(`update export set initiators = jsonb_build_array('${NEW}')`)
  // What was right is looked at again when another hash is told: the next export has one.
  const other = await fleet.call('POST', '/api/v1/volumes', { name: 'w', size_bytes: 4 * 2 ** 20 })
  t.is(other.status, 201)
  await fleet.call('POST', '/api/v1/exports', { volume: 'alpha-pool/w', wwn: `${WWN}2`, initiators: [OLD] })
  await until('the host is told', async () => (await reconciled())[0]?.state === 'succeeded', WAIT_MS)
  const [told] = await reconciled()
  t.like(told?.result, { errors: [] })
  const [{ n }] = await fleet.sql(`select count(*)::int as n from job where kind = 'export.reconcile'`)
  t.is(n, 1)
  // It keeps them now, and its beats say what the rows do: nothing is ordered any more, however often it is looked at.
  await fleet.sql(`update export_reconcile set next_at = now() - interval '1 second'`)
  const [{ beats }] = await fleet.sql('select last_seen_at as beats from host')
  await until(
    'three more beats are heard',
    async () => (await fleet.sql('select last_seen_at as at from host'))[0]?.at - beats > 14_000,
    WAIT_MS,
  )
  t.is((await reconciled()).length, 1)
})
