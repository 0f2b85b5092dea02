import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { createExampleRecorder } from '../harness/examples.ts'
import { startFleet } from '../harness/fleet.ts'
import { freePort } from '../harness/free-port.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { readExchanges, replay } from '../harness/replay.ts'
import { lacksServers, lacksTool, testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'

const DIALECT = join(import.meta.dirname, '../../control-plane/dialects/backup')
const PATH = '/v1/volume/backup'
const SIZE_BYTES = 2 * 2 ** 20

/** A fleet with one host that keeps backups, whose control plane listens for the service's clients as well. */
async function startService(t: ExecutionContext) {
  const port = await freePort()
  const environment = { HOLDFAST_AGENT_BACKUP_ROOT: temporaryDirectory(t) }
  const agent = { name: 'alpha', driver: 'copy' as const, path: temporaryDirectory(t), environment }
  const fleet = await startFleet(t, { agents: [agent], environment: { HOLDFAST_BACKUP_PORT: String(port) } })
  const baseUrl = `http://127.0.0.1:${port}`

  async function ask(method: string, path: string, body?: unknown) {
    const headers = { authorization: `Bearer ${fleet.token}` }
    const response = await fetch(`${baseUrl}${path}`, { method, headers, body: body ? JSON.stringify(body) : null })
    return { status: response.status, body: JSON.parse(await response.text()) }
  }
  const settled = (id: string) =>
    until(`backup ${id}`, async () => {
      const { body } = await ask('GET', `${PATH}/${id}`)
      return body.backup.status !== 'creating' && body.backup
    })
  async function backup(volume: string, given: object = {}): Promise<string> {
    const made = await ask('POST', PATH, { backup: { name: 'web', volume_id: volume, ...given } })
    t.is(made.status, 201, JSON.stringify(made.body))
    t.like(await settled(made.body.backup.id), { status: 'available', fail_reason: null })
    return made.body.backup.id
  }
  async function volume(name: string): Promise<{ readonly id: string; readonly device: string }> {
    const made = await fleet.call('POST', '/api/v1/volumes', { name, size_bytes: SIZE_BYTES })
    t.is(made.status, 201, JSON.stringify(made.body))
    return made.body
  }
  return { fleet, baseUrl, ask, settled, backup, volume }
}

function write(device: string, at: number, text: string): void {
  const file = openSync(device, 'r+')
  writeSync(file, text, at)
  closeSync(file)
}

/** Of backups of volumes; the gateway's are the same routes. */
async function replayAll(t: ExecutionContext, service: Awaited<ReturnType<typeof startService>>): Promise<void> {
  const { fleet, baseUrl, backup, volume } = service
  const exchanges = (await readExchanges(join(DIALECT, 'exchanges'))).filter(
    ({ source }) => !/ (1\.4|2\.\d) /.test(source),
  )
  const { onStep, compareWith } = createExampleRecorder()
  const { id } = await volume('v')
  const variables = { volume: id, standing: await backup(id, { incremental: true }), single: await backup(id) }
  t.deepEqual(await replay(exchanges, { baseUrl, token: fleet.token, variables, onStep }), [])
  t.deepEqual(await compareWith(join(DIALECT, 'examples.json')), [])
}

const it = testUnless(lacksServers() ?? lacksTool('zstd'))

it("a volume's backup grows, is restored and goes, on the service's own port, beside the document's exchanges", async (t) => {
  const service = await startService(t)
  await replayAll(t, service)
  const { fleet, ask, settled, backup, volume } = service
  const web = await volume('web')
  write(web.device, 300_000, 'first')
  const id = await backup(web.id, { incremental: true })
  write(web.device, SIZE_BYTES - 6, 'second')
  t.is((await ask('POST', `${PATH}/${id}/action`, { update: {} })).status, 201)
  const grown = await settled(id)
  t.like(grown, { status: 'available', size: 1, size_bytes: SIZE_BYTES, point_count: 2 })
  const [, newest] = grown.points
  const { body: point } = await fleet.call('GET', `/api/v1/points/${newest}`)
  t.like(point, { status: 'good', chain: [grown.points[0]] })
  t.is((await fleet.call('GET', `${PATH}?volume_id=${web.id}`)).body.backups.length, 1)

  const restored = await ask('POST', '/v1/volume', { volume: { backup_id: id } })
  t.is(restored.status, 201, JSON.stringify(restored.body))
  const again = await until('the volume is restored', async () => {
    const { body } = await fleet.call('GET', `/api/v1/volumes/${restored.body.volume.id}`)
    return body?.device ? body : undefined
  })
  t.true(readFileSync(again.device).equals(readFileSync(web.device)))

  t.is((await ask('DELETE', `${PATH}/${id}`)).status, 201)
  await until('it is gone', async () => (await ask('GET', `${PATH}/${id}`)).status === 404)
  t.is((await fleet.call('GET', `/api/v1/points/${newest}`)).status, 404)
})
