import test from 'ava'
import { actingFor, DEFAULT_GROUP_ID, type Role } from './caller.ts'
import { callerOf, type Standing } from './standing.ts'

const A = 'aaaaaaaa-0000-7000-8000-000000000000'
const B = 'bbbbbbbb-0000-7000-8000-000000000000'

function user(role: Role | null, memberships: readonly [string, Role][] = []): Standing['user'] {
  return { id: 'u', role, memberships: memberships.map(([groupId, granted]) => ({ groupId, role: granted })) }
}

function standing(given: Partial<Standing>): Standing {
  return { subject: 'user:alice', via: 'session', user: null, bounds: null, ...given }
}

const refused = (reason: RegExp) => ({ code: 'forbidden', message: reason })

test('without a group named: the oldest membership, else the default group for those with a role over the fleet', (t) => {
  const both = standing({
    user: user('viewer', [
      [B, 'operator'],
      [A, 'viewer'],
    ]),
  })
  t.like(callerOf(both, undefined), { groupId: B, role: 'operator', fleetRole: 'viewer' })
  t.like(callerOf(standing({ user: user('admin') }), undefined), {
    groupId: DEFAULT_GROUP_ID,
    role: 'admin',
    fleetRole: 'admin',
  })
  t.is(callerOf(standing({ user: user('admin', [[B, 'viewer']]) }), undefined).groupId, DEFAULT_GROUP_ID)
  t.throws(() => callerOf(standing({ user: user(null) }), undefined), refused(/no role in any group/))
})

test('a named group must be one that the caller may act for', (t) => {
  const member = standing({ user: user(null, [[A, 'operator']]) })
  t.like(callerOf(member, A), { groupId: A, role: 'operator', fleetRole: null })
  const other = t.throws(() => callerOf(member, B), refused(/may not act/))
  const absent = t.throws(() => callerOf(member, null), refused(/may not act/))
  t.is(other?.message, absent?.message)
  t.like(callerOf(standing({ user: user('viewer', [[A, 'operator']]) }), B), { groupId: B, role: 'viewer' })
})

test('a token bounds its owner, and its owner bounds it', (t) => {
  const bounds = { role: 'operator', groupId: null } as const
  t.like(callerOf(standing({ user: user('admin'), bounds }), undefined), { role: 'operator', fleetRole: 'operator' })
  t.like(callerOf(standing({ user: user('viewer'), bounds }), undefined), { role: 'viewer', fleetRole: 'viewer' })
  t.like(callerOf(standing({ user: user(null, [[A, 'viewer']]), bounds }), undefined), {
    role: 'viewer',
    fleetRole: null,
  })
  t.throws(() => callerOf(standing({ user: user(null), bounds }), undefined), refused(/no role/))
})

test('a token for one group is for nothing else, whatever its owner may', (t) => {
  const bounds = { role: 'admin', groupId: A } as const
  const owned = standing({ user: user('admin', [[B, 'admin']]), bounds })
  t.like(callerOf(owned, undefined), { groupId: A, role: 'admin', fleetRole: null })
  t.throws(() => callerOf(owned, B), refused(/may not act/))
  t.throws(() => callerOf(standing({ user: user(null, [[B, 'admin']]), bounds }), undefined), refused(/no role/))
})

test('a token without an owner is a service: of its group, or of the whole fleet', (t) => {
  const service = standing({ bounds: { role: 'operator', groupId: A } })
  t.like(callerOf(service, undefined), { userId: null, groupId: A, role: 'operator', fleetRole: null })
  t.throws(() => callerOf(service, DEFAULT_GROUP_ID), refused(/may not act/))
  const fleet = standing({ bounds: { role: 'operator', groupId: null } })
  t.like(callerOf(fleet, undefined), { groupId: DEFAULT_GROUP_ID, role: 'operator', fleetRole: 'operator' })
  t.like(callerOf(fleet, A), { groupId: A, fleetRole: 'operator' })
})

test('in the group of something else only the role over the fleet counts', (t) => {
  const caller = callerOf(standing({ user: user('viewer', [[A, 'admin']]) }), undefined)
  t.is(actingFor(caller, A), caller)
  t.like(actingFor(caller, B), { groupId: B, role: 'viewer' })
})
