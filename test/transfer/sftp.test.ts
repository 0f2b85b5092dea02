import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import ssh2, { type SFTPWrapper as ServerSftp } from 'ssh2'
import { openTarget, readHostKey } from '../../agent/transfer/open-target.ts'
import type { Target } from '../../agent/transfer/transfer.ts'
import { SftpTargetConfig, type TargetSecret } from '../../shared/target-config.ts'
import { FaultProxy } from '../harness/fault-proxy.ts'
import { mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksSsh, SSH_PASSWORD, SshServer } from '../harness/ssh-server.ts'
import { testUnless } from '../harness/system-packages.ts'
import { targetContract } from './target-contract.ts'
import { context, load, namesIn, noise, store, streamMany, watch, writeAll } from './target-setup.ts'

const lacks = lacksSsh()
const serially = testUnless(lacks)
const cleanUps: (() => void)[] = []
let server: SshServer
let root: string
let hostKey: string

test.before(async () => {
  if (lacks !== undefined) return
  const folder = temporaryDirectory({ teardown: (act) => cleanUps.push(act) })
  server = await SshServer.start(folder)
  root = join(folder, 'root')
  mkdirSync(root)
  hostKey = await readHostKey(configOf({ hostKey: undefined }), context, watch.signal)
})
test.after.always(async () => {
  await server?.kill()
  for (const cleanUp of cleanUps.toReversed()) cleanUp()
})

function configOf(changed: Readonly<Record<string, unknown>> = {}): SftpTargetConfig {
  const place = { protocol: 'sftp', name: 'vault', host: '127.0.0.1', port: server.port, base: root, username: 'root' }
  return SftpTargetConfig.parse({ ...place, hostKey, ...changed })
}

function open(changed: Readonly<Record<string, unknown>> = {}, secret?: TargetSecret): Promise<Target> {
  return openTarget(configOf(changed), secret ?? { privateKey: server.privateKey }, context)
}

async function behindProxy(t: ExecutionContext) {
  const proxy = await FaultProxy.start(server.port)
  t.teardown(() => proxy.close())
  return { proxy, target: await open({ port: proxy.port }) }
}

targetContract({ open: () => open(), verified: 'reread', lacks })

serially('the first contact tells the host key and sends no secret', async (t) => {
  t.regex(hostKey, /^ssh-ed25519 SHA256:[A-Za-z0-9+/]{43}$/)
  t.false(
    server.log().includes('Accepted') && server.log().indexOf('Accepted') < server.log().indexOf('Connection closed'),
  )
  await t.throwsAsync(open({ hostKey: undefined }), { code: 'invalid', message: /host key/ })
})

serially('a password works as well as a key, and a wrong one is refused', async (t) => {
  await (await open({}, { password: SSH_PASSWORD })).ping(watch)
  const error = await t.throwsAsync((await open({}, { password: 'not the password' })).ping(watch), { code: 'refused' })
  t.false(`${error?.message}${Object(error).detail}`.includes('not the password'))
  await t.throwsAsync((await open({}, { privateKey: 'no key' })).ping(watch), {
    code: 'invalid',
    message: /private key/,
  })
})

serially('a changed host key is refused before anything secret is sent', async (t) => {
  server.changeHostKey()
  await server.kill()
  await server.resume()
  await t.throwsAsync((await open()).ping(watch), { code: 'refused', message: /host key/ })
  await t.throwsAsync((await open({}, { password: SSH_PASSWORD })).put('a', watch), {
    code: 'refused',
    message: /host key/,
  })
  t.false(server.log().split('Server listening').at(-1)?.includes('Accepted'))
  hostKey = await readHostKey(configOf({ hostKey: undefined }), context, watch.signal)
  await (await open()).ping(watch)
})

serially('an upload goes on where it was after a cut', async (t) => {
  const { proxy, target } = await behindProxy(t)
  const bytes = noise(12_000_000)
  for (const afterBytes of [500, 4_000, 100_003, 7_654_321]) {
    proxy.cuts = 0
    const sink = await target.put('cut', { ...watch, replace: true })
    proxy.set({ kind: 'cut', afterBytes })
    await writeAll(sink, bytes)
    t.is(proxy.cuts, 1, `after ${afterBytes} bytes`)
    t.true((await load(target, 'cut')).equals(bytes))
  }
  t.deepEqual(
    readdirSync(root).filter((name) => name.endsWith('.partial')),
    [],
  )
})

serially('an upload goes on after its server was killed', async (t) => {
  const target = await open()
  const bytes = noise(9_000_000)
  const sink = await target.put('survivor', watch)
  await sink.write(bytes.subarray(0, 4_000_000))
  await server.kill()
  await server.resume()
  await sink.write(bytes.subarray(4_000_000))
  await sink.finish()
  t.true((await load(target, 'survivor')).equals(bytes))
})

serially('an upload goes on after its server was away for a moment', async (t) => {
  const patient = { ...context, retries: { attempts: 6, baseMs: 400, maxMs: 2_000, random: () => 1 } }
  const target = await openTarget(configOf(), { privateKey: server.privateKey }, patient)
  const bytes = noise(9_000_000)
  const sink = await target.put('patient', watch)
  await sink.write(bytes.subarray(0, 4_000_000))
  await server.kill()
  const back = delay(1_000).then(() => server.resume())
  await sink.write(bytes.subarray(4_000_000))
  await sink.finish()
  await back
  t.true((await load(target, 'patient')).equals(bytes))
})

/** A server that lets anybody in and answers as nobody should. */
async function odd(t: ExecutionContext, answer: (sftp: ServerSftp, end: () => void) => void) {
  const key = ssh2.utils.generateKeyPairSync('ed25519')
  const seen = { connections: 0 }
  const server = new ssh2.Server({ hostKeys: [key.private] }, (client) => {
    seen.connections += 1
    client.on('error', () => undefined)
    client.on('authentication', (attempt) => attempt.accept())
    client.on('session', (accept) => accept().on('sftp', (accept) => answer(accept(), () => void client.end())))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  // as: a TCP server that listens has an AddressInfo
  const { port } = server.address() as AddressInfo
  const place = { protocol: 'sftp', name: 'odd', host: '127.0.0.1', port, base: '/', username: 'a' }
  const config = SftpTargetConfig.parse(place)
  const hostKey = await readHostKey(config, context, watch.signal)
  const target = await openTarget({ ...config, hostKey }, { password: 'p' }, context)
  t.teardown(() => target[Symbol.asyncDispose]())
  return { target, seen }
}

test('a server that ends each connection as soon as something is written is given up', async (t) => {
  const { OK, NO_SUCH_FILE, OP_UNSUPPORTED } = ssh2.utils.sftp.STATUS_CODE
  const { target, seen } = await odd(t, (sftp, end) => {
    sftp.on('OPEN', (id) => sftp.handle(id, Buffer.from('h')))
    sftp.on('WRITE', end)
    sftp.on('LSTAT', (id) => sftp.status(id, NO_SUCH_FILE))
    sftp.on('EXTENDED', (id) => sftp.status(id, OP_UNSUPPORTED))
    for (const event of ['CLOSE', 'REMOVE'] as const) sftp.on(event, (id: number) => sftp.status(id, OK))
  })
  await t.throwsAsync(store(target, 'a', noise(3_000_000)), { code: 'unavailable', message: /odd/ })
  t.true(seen.connections < 10, `${seen.connections} connections`)
})

const ATTRIBUTES = { mode: 0o100644, uid: 0, gid: 0, size: 0, atime: 0, mtime: 0 }
const told = (filename: string) => ({ filename, longname: filename, attrs: ATTRIBUTES })

test('a directory is listed to its end, however few names a server tells at a time', async (t) => {
  const { OK, EOF } = ssh2.utils.sftp.STATUS_CODE
  const names = ['.', '..', 'a', '..', 'b']
  const { target } = await odd(t, (sftp) => {
    let next = 0
    sftp.on('OPENDIR', (id) => sftp.handle(id, Buffer.from('h')))
    sftp.on('READDIR', (id) => {
      const name = names[next]
      next += 1
      return name === undefined ? sftp.status(id, EOF) : sftp.name(id, [told(name)])
    })
    sftp.on('CLOSE', (id) => sftp.status(id, OK))
  })
  t.deepEqual(await namesIn(target), ['a', 'b'])
})

test('a directory of names that are none, without an end, is given up', async (t) => {
  const { target } = await odd(t, (sftp) => {
    const names = Array.from({ length: 500 }, () => told('\u0001'))
    sftp.on('OPENDIR', (id) => sftp.handle(id, Buffer.from('h')))
    sftp.on('READDIR', (id) => sftp.name(id, names))
    sftp.on('CLOSE', (id) => sftp.status(id, ssh2.utils.sftp.STATUS_CODE.OK))
  })
  await t.throwsAsync(target.list('', { signal: AbortSignal.timeout(20_000) }), { code: 'too_large', message: /odd/ })
})

serially('a server that stops answering is given up, and what it keeps is swept later', async (t) => {
  const { proxy, target } = await behindProxy(t)
  const sink = await target.put('stalled', watch)
  proxy.set({ kind: 'stall', afterBytes: 3_000_000 })
  const started = performance.now()
  const error = await t.throwsAsync(writeAll(sink, noise(30_000_000)))
  t.true(['timeout', 'unavailable'].includes(Object(error).code), error?.message)
  t.true(performance.now() - started < 30_000)
  proxy.set({ kind: 'none' })
  t.false((await namesIn(await open())).includes('stalled'))
  await (await open()).sweep('', { ...watch, olderThanMs: -60_000 })
  t.deepEqual(
    readdirSync(root).filter((name) => name.endsWith('.partial')),
    [],
  )
})

serially('a full disk on the server is told, before the work where the size is known', async (t) => {
  const small = mountLoop(t, 'ext4', 64 * 2 ** 20)
  // A server started now sees the new mount in the mount namespace that it gets.
  const second = await SshServer.start(temporaryDirectory(t))
  t.teardown(() => second.kill())
  const config = configOf({ base: small, port: second.port, hostKey: undefined })
  const key = await readHostKey(config, context, watch.signal)
  const target = await openTarget({ ...config, hostKey: key }, { privateKey: second.privateKey }, context)
  await t.throwsAsync(target.put('large', { ...watch, sizeBytes: 2 ** 30 }), { code: 'no_space', message: /vault/ })
  await t.throwsAsync(store(target, 'a', noise(90_000_000)), { code: 'no_space' })
  t.deepEqual(readdirSync(small), ['lost+found'])
  await store(target, 'a', noise(1_000_000))
  await target[Symbol.asyncDispose]()
})

serially('300 MiB pass without being held', async (t) => {
  const usedMib = streamMany(configOf({ verify: 'server' }), { privateKey: server.privateKey }, 300)
  t.log(`${usedMib.toFixed(0)} MiB`)
  t.true(usedMib < 150)
})
