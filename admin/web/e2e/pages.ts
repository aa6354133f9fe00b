/** Every page, as an operator who also is a customer sees it. */
export const pages = [
  '/console', '/console/api-keys', '/console/playground', '/console/usage', '/console/logs', '/console/billing', '/console/billing?tab=ledger', '/console/models', '/console/conversations', '/console/policies', '/console/settings',
  '/console/operator', '/console/operator/clients', '/console/operator/clients/client_1', '/console/operator/users', '/console/operator/models', '/console/operator/prices', '/console/operator/providers', '/console/operator/traffic', '/console/operator/groups', '/console/operator/vouchers', '/console/operator/audit', '/console/nothing',
  '/docs', '/docs/errors', '/docs/billing', '/docs/api-reference', '/docs/operate-settings', '/docs/nothing', '/docs/pricing', '/status',
];

/** Pages for people who are not signed in. */
export const doors = ['/console/sign-in', '/console/sign-up', '/console/invitation?token=none', '/console/reset', '/console/reset?token=none', '/status', '/docs', '/docs/pricing'];
