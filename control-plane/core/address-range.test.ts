import test from 'ava'
import { addressRange } from './address-range.ts'

test('an IPv4 address stands for itself, an IPv6 address for its /64, however it is written', (t) => {
  t.is(addressRange('10.0.0.1'), '10.0.0.1')
  t.is(addressRange('nonsense'), 'nonsense')
  t.is(addressRange('2001:db8:0:7::1'), '2001:db8:0:7::/64')
  t.is(addressRange('2001:0DB8:0000:0007:1:2:3:4'), '2001:db8:0:7::/64')
  t.is(addressRange('2001:db8::7:1:2:3:4'), '2001:db8:0:7::/64')
  t.is(addressRange('2001:db8:1::'), '2001:db8:1:0::/64')
  t.is(addressRange('fe80::1%eth0'), 'fe80:0:0:0::/64')
  t.is(addressRange('::1'), '0:0:0:0::/64')
  t.is(addressRange('64:ff9b::10.0.0.1'), '64:ff9b:0:0::/64')
})
