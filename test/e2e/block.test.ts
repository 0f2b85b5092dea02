import type { ExecutionContext } from 'ava'
import { type CinderIdentity, lacksCinder, openCinder } from '../harness/cinder.ts'
import { startFleet } from '../harness/fleet.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksServers, testUnless } from '../harness/system-packages.ts'
import { createTenant } from '../harness/tenants.ts'
import { until } from '../harness/until.ts'

type Client = ReturnType<typeof openCinder>

/** The client as somebody: what it prints, taken apart. */
function cinderAs(t: ExecutionContext, { run }: Pick<Client, 'run'>, as: CinderIdentity) {
  /** @returns all that it says */
  const refused = async (...words: readonly string[]): Promise<string> => {
    const { code, said } = await run(as, words)
    t.not(code, 0, `cinder ${words.join(' ')}: ${said}`)
    return said
  }
  /** @returns the table that it prints, as its cells */
  const cinder = async (...words: readonly string[]): Promise<readonly (readonly string[])[]> => {
    const { code, said } = await run(as, words)
    t.is(code, 0, `cinder ${words.join(' ')}: ${said}`)
    const lines = said.split('\n').filter((line) => line.startsWith('|'))
    return lines.map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
  }
  /** A table of two columns, as what it says of each word. */
  const facts = async (...words: readonly string[]): Promise<Readonly<Record<string, string>>> =>
    Object.fromEntries((await cinder(...words)).map(([name = '', value = '']) => [name, value]))
  return { cinder, facts, refused }
}

testUnless(lacksServers() ?? lacksCinder())("Debian's cinder client, with a token and without", async (t) => {
  const agents = [{ name: 'alpha', driver: 'copy' as const, path: temporaryDirectory(t) }]
  const environment = { HOLDFAST_TRUSTED_NETWORKS: '127.0.0.0/8=operator' }
  const fleet = await startFleet(t, { agents, environment })
  const red = await createTenant(fleet, 'red')
  const { token } = await red.member('operator')
  const client = openCinder(t)
  const as = (project: string, shown: string | null) => ({ url: fleet.url(), project, token: shown })
  const { cinder, facts, refused } = cinderAs(t, client, as('red', token))
  /** Without the client, which takes its time for each look. */
  const listed = async (what = 'volumes', project = 'red', by = token) =>
    (await fleet.call('GET', `/v3/${project}/${what}/detail`, undefined, { token: by })).body[what].map(
      ({ name, size, status }: Record<string, unknown>) => `${name} ${size} ${status}`,
    )
  const become = (what: 'volumes' | 'snapshots', ...wanted: string[]) =>
    until(`${what}: ${wanted}`, async () => String(await listed(what)) === String(wanted))

  const words = ['--name', 'data', '--description', 'of the shop', '--metadata', 'tier=gold']
  const program = cinderAs(t, { run: client.program }, as('red', token))
  const { id = '', ...made } = await program.facts('create', '1', ...words)
  t.like(made, { name: 'data', size: '1', description: 'of the shop', volume_type: 'alpha-pool' })
  await become('volumes', 'data 1 available')
  await cinder('metadata', 'data', 'set', 'owner=ops')
  await cinder('metadata', 'data', 'unset', 'tier')
  await cinder('rename', 'data', 'goods')
  await cinder('extend', 'goods', '2')
  await become('volumes', 'goods 2 available')
  t.like(await facts('show', 'goods'), { id, metadata: 'owner : ops', status: 'available', size: '2' })

  const { id: snapshot = '' } = await facts('snapshot-create', 'goods', '--name', 'first')
  await become('snapshots', 'first 2 available')
  t.regex(await refused('delete', 'goods'), /is needed by snapshot/)
  t.is((await facts('create', '3', '--snapshot-id', snapshot, '--name', 'copy')).snapshot_id, snapshot)
  await become('volumes', 'copy 3 available', 'goods 2 available')
  const rows = async (...list: string[]) => (await cinder(...list)).slice(1).map((row) => row.join(' ').trim())
  t.deepEqual(
    (await rows('list', '--metadata', 'owner=ops')).map((row) => row.slice(0, id.length)),
    [id],
  )
  t.regex((await rows('snapshot-list', '--volume-id', id)).join(), new RegExp(`^${snapshot} ${id} available first 2`))

  // Another project's has neither a name nor an id, and is no project to act for.
  const blue = await createTenant(fleet, 'blue')
  const strange = (await blue.member('admin')).token
  const other = cinderAs(t, client, as('blue', strange))
  t.deepEqual(await listed('volumes', 'blue', strange), [])
  t.regex(await other.refused('show', id), /No volume with a name or ID/)
  const intruder = cinderAs(t, client, as('red', strange))
  t.regex(await intruder.refused('list'), /may not act for this group.*403/)

  // Whom the network is trusted to let in acts for the project that it names, with the network's role.
  const unasked = cinderAs(t, client, as('red', null))
  t.regex(await unasked.refused('snapshot-delete', 'first'), /needed by volume/)
  await unasked.cinder('delete', 'copy')
  await become('volumes', 'goods 2 available')
  await cinder('delete', '--cascade', 'goods')
  await become('volumes')
  t.deepEqual(await fleet.sql('select * from block_snapshot'), [])
  await fleet.quiet()
})
