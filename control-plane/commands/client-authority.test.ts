import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { startListener } from '../../test/harness/fake-listener.ts'
import { until } from '../../test/harness/until.ts'
import { certificatesAuthority, certificatesIssue, certificatesRevoke } from './certificates.ts'
import { filesOf } from './client-authority.ts'
import type { Command } from './command.ts'

function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-authority-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

async function run(command: Command, options: Record<string, string>): Promise<readonly string[]> {
  const said: string[] = []
  await command.run({ options, environment: process.env, say: (line) => void said.push(line) })
  return said
}

test('what the commands make serves the listener and its clients, until it is revoked', async (t) => {
  const folder = join(temporaryFolder(t), 'tls')
  await run(certificatesAuthority, { folder })
  t.is((await run(certificatesIssue, { folder, name: 'emulab' })).at(-1), 'subject:CN=emulab')
  await run(certificatesIssue, { folder, name: 'other', days: '1' })
  const files = filesOf({ folder })
  for (const key of [join(folder, 'ca.key'), files.serverKey, files.clientKey('emulab')]) {
    t.is(statSync(key).mode & 0o777, 0o600, key)
  }
  const verify = (purpose: string, file: string) =>
    execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', files.authority, '-purpose', purpose, file], {
      stdio: 'pipe',
    })
  t.notThrows(() => verify('sslclient', files.client('emulab')))
  t.notThrows(() => verify('sslserver', files.server))
  t.throws(() => verify('sslserver', files.client('emulab')))

  const tls = { cert: files.server, key: files.serverKey, clientCa: files.authority, clientCrl: files.revoked }
  const listener = await startListener(t, { tls })
  const { port } = await listener.http.listenTls({ port: 0, bind: '127.0.0.1' })
  const clients = ['emulab', 'other'].map((name) => ({
    cert: readFileSync(files.client(name)),
    key: readFileSync(files.clientKey(name)),
  }))
  const ask = (n: number) =>
    new Promise<number>((resolve, reject) => {
      const where = { host: 'localhost', port, path: '/lun/api/v1.0/clone_test', agent: false, family: 4 }
      const asking = request({ ...where, ca: readFileSync(files.authority), ...clients[n] }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0))
      })
      asking.on('error', reject).end()
    })
  // They stand for nobody here: what matters is that they are heard.
  t.is(await ask(0), 401)
  await run(certificatesRevoke, { folder, name: 'emulab' })
  utimesSync(files.revoked, 1, 1)
  await until('the new list', () => listener.lines.some(({ event }) => event === 'tls.reloaded'))
  await t.throwsAsync(ask(0))
  t.is(await ask(1), 401)
  await run(certificatesIssue, { folder, name: 'emulab' })
})

test('nothing is replaced, and a name is nothing but a name', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'somebody-elses'), '')
  await t.throwsAsync(run(certificatesAuthority, { folder }), { message: /is not empty/ })
  await t.throwsAsync(run(certificatesIssue, { folder, name: 'a' }), { message: /there is no authority/ })
  await t.throwsAsync(run(certificatesIssue, { folder, name: '../a' }), { message: /^--name: must be/ })
  await t.throwsAsync(run(certificatesIssue, { folder: '', name: 'a' }), { message: '--folder: is required' })
  const hosts = 'localhost\n[x]'
  await t.throwsAsync(run(certificatesAuthority, { folder: join(folder, 'new'), hosts }), { message: /^--hosts:/ })
})
