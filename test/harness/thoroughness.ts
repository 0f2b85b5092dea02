/** `HOLDFAST_TEST_FACTOR=10`: random trees are tried that many times as often as by default. */
export const THOROUGHNESS = Math.max(1, Math.round(Number(process.env.HOLDFAST_TEST_FACTOR ?? 1)) || 1)
