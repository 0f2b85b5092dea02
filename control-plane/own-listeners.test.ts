import { networkInterfaces } from 'node:os'
import test from 'ava'
import { ControlPlaneConfig } from './config.ts'
import { ownListeners } from './own-listeners.ts'

function config(given: Record<string, string>) {
  const usual = { DATABASE_URL: 'postgres://u:secret@db.test/fleet', NATS_URL: 'nats://nats.test:4333' }
  return ControlPlaneConfig.parse({ ...usual, ...given })
}

test('the database, NATS and our listeners are told, each once and without credentials', (t) => {
  const urls = 'tls://nats.test:4333,nats://[fd00::7]'
  t.deepEqual(ownListeners(config({ HOLDFAST_BIND: '10.0.0.4', HOLDFAST_AGENT_NATS_URLS: urls }), [8080, 8443]), [
    'db.test:5432',
    'nats.test:4333',
    '[fd00::7]:4222',
    '10.0.0.4:8080',
    '10.0.0.4:8443',
  ])
})

test('a listener with an address of its own is told there', (t) => {
  const told = ownListeners(config({ HOLDFAST_BACKUP_PORT: '8110', HOLDFAST_BACKUP_BIND: '10.0.0.5' }), [8080, 8110])
  t.deepEqual(told.slice(2), ['127.0.0.1:8080', '10.0.0.5:8080', '127.0.0.1:8110', '10.0.0.5:8110'])
})

test('a listener on every address is told by the addresses of this machine', (t) => {
  const told = ownListeners(config({ HOLDFAST_BIND: '0.0.0.0' }), [8080])
  const [first] = Object.values(networkInterfaces()).flatMap((found = []) => found)
  t.true(told.some((listener) => listener.includes(first?.address ?? '') && listener.endsWith(':8080')))
  t.false(told.some((listener) => listener.startsWith('0.0.0.0')))
})

test('a database behind a socket has no address', (t) => {
  t.deepEqual(ownListeners(config({ DATABASE_URL: 'postgres:///fleet?host=/run/postgresql' }), []), ['nats.test:4333'])
})
