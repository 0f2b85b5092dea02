import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { connect } from 'nats'
import { lacksTool, testUnless } from '../test/harness/system-packages.ts'
import { ensureAuthority, preparePrivateNats } from './nats.ts'
import { SupervisedProcess } from './supervised-process.ts'
import { findTool } from './tools.ts'

const ROOT = join(import.meta.dirname, '..')

function scratch(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nats-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'nats')
}

const testWithServer = testUnless(lacksTool('nats-server'))

test('the authority is made once, and only its owner reads it', async (t) => {
  const folder = scratch(t)
  const file = await ensureAuthority(folder, ROOT)
  const made = readFileSync(file, 'utf8')
  t.is(await ensureAuthority(folder, ROOT), file)
  t.is(readFileSync(file, 'utf8'), made)
  for (const name of ['authority.json', 'authority.conf', 'identities.json']) {
    t.is(statSync(join(folder, name)).mode & 0o777, 0o600, name)
  }
  const identities = Object.values(JSON.parse(readFileSync(join(folder, 'identities.json'), 'utf8')))
  for (const seed of identities) t.false(made.includes(String(seed)), 'the control plane gets no identity')
})

testWithServer('a client without credentials is turned away', async (t) => {
  const folder = scratch(t)
  await ensureAuthority(folder, ROOT)
  const program = findTool('nats-server')
  if (!program) throw new Error('nats-server')
  const nats = await preparePrivateNats({ program, folder, logPath: join(folder, 'nats.log') })
  const server = new SupervisedProcess(nats.spec, { deathSignalTool: findTool('setpriv'), onSpawn() {}, onExit() {} })
  t.teardown(() => server.stop())
  await nats.ready(AbortSignal.timeout(10_000))
  await t.throwsAsync(connect({ servers: nats.url, reconnect: false }), { message: /Authorization/i })
})
