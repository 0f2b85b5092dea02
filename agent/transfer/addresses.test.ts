import { lookup } from 'node:dns/promises'
import test from 'ava'
import { type AddressPolicy, plainAddress, whyDenied } from '../../shared/addresses.ts'
import { createDialer } from './dial.ts'

const policy: AddressPolicy = {
  allowLoopback: false,
  listeners: [
    { host: '10.0.0.5', port: 5432 },
    { host: '0.0.0.0', port: 4222 },
  ],
  ownAddresses: () => ['192.168.1.9', 'fd12::9'],
}
const lab: AddressPolicy = { ...policy, allowLoopback: true }
const signal = new AbortController().signal

const DENIED = [
  '127.0.0.1',
  '127.255.1.2',
  '0.0.0.0',
  '0.1.2.3',
  '169.254.169.254',
  '169.254.0.1',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  'fe80::1',
  'fe80::1%eth0',
  'fd00:ec2::254',
  'ff02::1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::ffff:169.254.169.254',
  '::ffff:0:127.0.0.1',
  '::127.0.0.1',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b:1::1',
  '2002:7f00:1::',
  '2002:a9fe:a9fe::1',
  '2001:0:1::1',
  '0:0:0:0:0:ffff:a9fe:a9fe',
  'not an address',
]

test('loopback, link-local, metadata and reserved addresses are denied in every spelling', (t) => {
  for (const address of DENIED) t.truthy(whyDenied({ address, port: 443 }, policy), address)
})

test('addresses of a network, public and private, are allowed', (t) => {
  for (const address of [
    '10.0.0.5',
    '192.168.1.20',
    '172.16.0.1',
    '8.8.8.8',
    '2a00:1450::1',
    'fd12::1',
    '::ffff:10.1.1.1',
  ])
    t.is(whyDenied({ address, port: 443 }, policy), undefined, address)
})

test('where loopback is allowed, link-local and metadata are not', (t) => {
  t.is(whyDenied({ address: '127.0.0.1', port: 443 }, lab), undefined)
  t.is(whyDenied({ address: '::1', port: 443 }, lab), undefined)
  t.truthy(whyDenied({ address: '169.254.169.254', port: 443 }, lab))
})

test("the fleet's own listeners are denied by address, and by every name of this machine", (t) => {
  t.truthy(whyDenied({ address: '10.0.0.5', port: 5432 }, policy))
  t.truthy(whyDenied({ address: '::ffff:10.0.0.5', port: 5432 }, policy))
  t.is(whyDenied({ address: '10.0.0.6', port: 5432 }, policy), undefined)
  for (const address of ['192.168.1.9', 'fd12::9', '127.0.0.1', '127.9.9.9', '::1'])
    t.truthy(whyDenied({ address, port: 4222 }, lab), address)
  const local = { ...lab, listeners: [{ host: '127.0.0.1', port: 5432 }] }
  t.truthy(whyDenied({ address: '::ffff:127.0.0.2', port: 5432 }, local))
})

test('one address has one spelling', (t) => {
  t.is(plainAddress('[::FFFF:0a00:0001]'), '10.0.0.1')
  t.is(plainAddress('FD12:0:0::9'), 'fd12::9')
  t.is(plainAddress('::1'), '::1')
})

test('decimal, octal and hexadecimal spellings are read as the system reads them, and denied', async (t) => {
  for (const host of ['2130706433', '0177.0.0.1', '0x7f.1', '127.1', '2852039166', 'localhost'])
    await t.throwsAsync(createDialer(policy).dial({ host, port: 9 }, signal), { code: 'refused' }, host)
  t.is((await lookup('2130706433')).address, '127.0.0.1')
})

test('a name is denied when any of its addresses is', async (t) => {
  const resolve = async () => [
    { address: '93.184.216.34', family: 4 },
    { address: '169.254.169.254', family: 4 },
  ]
  await t.throwsAsync(createDialer(policy, resolve).dial({ host: 'rebind.test', port: 80 }, signal), {
    code: 'refused',
  })
})

test('a listener given by name is recognised by address', async (t) => {
  const named = { ...lab, listeners: [{ host: 'db.test', port: 5432 }] }
  const resolve = async () => [{ address: '10.9.9.9', family: 4 }]
  await t.throwsAsync(createDialer(named, resolve).dial({ host: 'other.test', port: 5432 }, signal), {
    code: 'refused',
  })
})
