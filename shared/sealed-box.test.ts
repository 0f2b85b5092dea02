import test from 'ava'
import { newBoxKeys, openSealed, sealFor } from './sealed-box.ts'

const secret = Buffer.from('chap-password')
const CONTEXT = 'job/1/chap'

test('only the holder of the private key opens a box, and it differs every time', (t) => {
  const { publicKey, privateKey } = newBoxKeys()
  const sealed = sealFor(publicKey, secret, CONTEXT)
  t.deepEqual(openSealed(privateKey, sealed, CONTEXT), secret)
  t.false(sealed.includes(secret))
  t.notDeepEqual(sealFor(publicKey, secret, CONTEXT), sealed)
  t.throws(() => openSealed(newBoxKeys().privateKey, sealed, CONTEXT), { message: /another key/ })
  t.deepEqual(openSealed(privateKey, sealFor(publicKey, Buffer.alloc(0), CONTEXT), CONTEXT), Buffer.alloc(0))
})

test('a box opens only for what it was sealed for', (t) => {
  const { publicKey, privateKey } = newBoxKeys()
  const sealed = sealFor(publicKey, secret, CONTEXT)
  t.throws(() => openSealed(privateKey, sealed, 'job/2/chap'), { message: /another end/ })
})

test('a box with any byte changed or cut does not open', (t) => {
  const { publicKey, privateKey } = newBoxKeys()
  const sealed = sealFor(publicKey, secret, CONTEXT)
  for (const n of sealed.keys()) {
    const changed = Buffer.from(sealed)
    changed[n] = (changed[n] ?? 0) ^ 1
    // The top bit of an X25519 key is ignored by the curve; it is bound by the salt all the same.
    t.throws(() => openSealed(privateKey, changed, CONTEXT), undefined, `byte ${n}`)
  }
  t.throws(() => openSealed(privateKey, sealed.subarray(0, -1), CONTEXT))
  t.throws(() => openSealed(privateKey, Buffer.alloc(10), CONTEXT), { message: 'not a sealed box' })
})

test('keys of the wrong length, and the point of order one, are refused', (t) => {
  t.throws(() => sealFor(Buffer.alloc(31), secret, CONTEXT), { message: /32 bytes/ })
  t.throws(() => sealFor(Buffer.alloc(32), secret, CONTEXT))
})
