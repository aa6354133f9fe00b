import { AppShell, Box, Burger, Button, Group, NavLink, Stack } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { Suspense, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'react-router';
import { useVisitor } from '../session';
import { Brand, LanguageSwitch, SchemeSwitch } from './shell';
import { Waiting } from './states';

const places = [
  { to: '/docs', label: 'public.docs' },
  { to: '/docs/pricing', label: 'public.pricing' },
  { to: '/status', label: 'public.status' },
] as const;

/** PublicShell is around what everybody may read. */
export function PublicShell({ children, nav }: { children: ReactNode; nav?: (close: () => void) => ReactNode }) {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const { pathname } = useLocation();
  const [opened, { toggle, close }] = useDisclosure(false);
  const at = (to: string): boolean => (to === '/docs' ? pathname.startsWith('/docs') && pathname !== '/docs/pricing' : pathname === to);
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 264, breakpoint: 'md', collapsed: { mobile: !opened, desktop: nav === undefined } }} padding={{ base: 'md', sm: 'xl' }}>
      <a href="#content" className="skip">
        {t('nav.skip')}
      </a>
      <AppShell.Header className="shell-bar">
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group wrap="nowrap" gap="sm" miw={0}>
            <Burger opened={opened} onClick={toggle} hiddenFrom="md" size="sm" aria-label={t('nav.open')} aria-expanded={opened} />
            <Link to="/docs" className="plain" aria-label={t('public.docs')}>
              <Brand />
            </Link>
            <Group component="nav" aria-label={t('public.pages')} gap={2} ml="md" visibleFrom="md" wrap="nowrap">
              {places.map((p) => (
                <Button key={p.to} component={Link} to={p.to} variant={at(p.to) ? 'light' : 'subtle'} color={at(p.to) ? 'relay' : 'gray'} size="compact-sm" fw={500} aria-current={at(p.to) ? 'page' : undefined}>
                  {t(p.label)}
                </Button>
              ))}
            </Group>
          </Group>
          <Group gap={4} wrap="nowrap">
            <LanguageSwitch />
            <SchemeSwitch />
            <Button component={Link} to={user ? '/console' : '/console/sign-in'} size="compact-sm" ml={4}>
              {t(user ? 'public.console' : 'nav.signIn')}
            </Button>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className="shell-bar" p="md" style={{ overflowY: 'auto' }}>
        <Box component="nav" hiddenFrom="md" mb="md" aria-label={t('public.pages')}>
          <Stack gap={2}>
            {places.map((p) => (
              <NavLink key={p.to} className="nav-link" component={Link} to={p.to} label={t(p.label)} active={at(p.to)} onClick={close} py={7} />
            ))}
          </Stack>
        </Box>
        {nav?.(close)}
      </AppShell.Navbar>
      <AppShell.Main className="shell-main" id="content" tabIndex={-1} style={{ outline: 'none' }}>
        <div className="page">
          <Suspense fallback={<Waiting />}>{children}</Suspense>
        </div>
      </AppShell.Main>
    </AppShell>
  );
}
