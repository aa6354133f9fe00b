import { ActionIcon, AppShell, Avatar, Box, Burger, Button, Divider, Group, Menu, NavLink, Stack, Text, Tooltip, UnstyledButton, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconActivity, IconBolt, IconBook, IconBuilding, IconChartBar, IconCoin, IconHistory, IconKey, IconLanguage, IconLayoutDashboard, IconListDetails, IconLogout, IconMessages, IconMoon, IconPlugConnected, IconReceipt2, IconRobot, IconRoute, IconSelector, IconSettings, IconShield, IconSun, IconTags, IconTerminal, IconTicket, IconUserCog, IconUsers, IconWallet } from '../icons';
import { useQueryClient } from '@tanstack/react-query';
import { Suspense, type ComponentType } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, Outlet, useLocation } from 'react-router';
import { del, type Balance, type Visitor } from '../api';
import { end as endPlayground } from '../chat';
import { usd } from '../decimal';
import { useGet } from '../hooks';
import icon from '../icon.svg';
import { languages, setLanguage, type Key } from '../i18n';
import { become, useVisitor } from '../session';
import { Money } from './bits';
import { Waiting } from './states';

interface Item {
  to: string;
  label: Key;
  icon: ComponentType<{ size?: number; stroke?: number }>;
}

const workspace: Item[] = [
  { to: '/console', label: 'nav.dashboard', icon: IconLayoutDashboard },
  { to: '/console/api-keys', label: 'nav.apiKeys', icon: IconKey },
  { to: '/console/playground', label: 'nav.playground', icon: IconTerminal },
  { to: '/console/usage', label: 'nav.usage', icon: IconChartBar },
  { to: '/console/logs', label: 'nav.logs', icon: IconListDetails },
  { to: '/console/billing', label: 'nav.billing', icon: IconReceipt2 },
  { to: '/console/models', label: 'nav.models', icon: IconRobot },
  { to: '/console/conversations', label: 'nav.conversations', icon: IconMessages },
  { to: '/console/policies', label: 'nav.policies', icon: IconShield },
  { to: '/console/settings', label: 'nav.settings', icon: IconSettings },
];

/** What everybody may read, signed in or not. */
const help: Item[] = [
  { to: '/docs', label: 'public.docs', icon: IconBook },
  { to: '/status', label: 'public.status', icon: IconActivity },
];

const operator: Item[] = [
  { to: '/console/operator', label: 'nav.overview', icon: IconCoin },
  { to: '/console/operator/clients', label: 'nav.clients', icon: IconBuilding },
  { to: '/console/operator/users', label: 'nav.users', icon: IconUserCog },
  { to: '/console/operator/traffic', label: 'nav.traffic', icon: IconBolt },
  { to: '/console/operator/groups', label: 'nav.groups', icon: IconUsers },
  { to: '/console/operator/providers', label: 'nav.providers', icon: IconPlugConnected },
  { to: '/console/operator/models', label: 'nav.catalogue', icon: IconRoute },
  { to: '/console/operator/prices', label: 'nav.prices', icon: IconTags },
  { to: '/console/operator/vouchers', label: 'nav.vouchers', icon: IconTicket },
  { to: '/console/operator/audit', label: 'nav.audit', icon: IconHistory },
];

const isAt = (path: string, to: string): boolean => (to === '/console' || to === '/console/operator' ? path === to : path === to || path.startsWith(`${to}/`));

export function Brand() {
  const { site } = useVisitor();
  return (
    <Group gap={10} wrap="nowrap">
      <img src={icon} width={28} height={28} alt="" />
      <Text fw={650} fz={16} truncate>
        {site.brand}
      </Text>
    </Group>
  );
}

export function SchemeSwitch() {
  const { t } = useTranslation();
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  return (
    <Tooltip label={t('nav.theme')}>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label={t('nav.theme')} onClick={() => setColorScheme(scheme === 'dark' ? 'light' : 'dark')}>
        {scheme === 'dark' ? <IconSun size={18} stroke={1.7} /> : <IconMoon size={18} stroke={1.7} />}
      </ActionIcon>
    </Tooltip>
  );
}

export function LanguageSwitch() {
  const { t, i18n } = useTranslation();
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="lg" aria-label={t('nav.language')}>
          <IconLanguage size={18} stroke={1.7} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {languages.map((l) => (
          <Menu.Item key={l.value} lang={l.value} fw={i18n.resolvedLanguage === l.value ? 650 : 400} onClick={() => setLanguage(l.value)}>
            {l.label}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

function Section({ title, items, onGo }: { title: Key; items: Item[]; onGo: () => void }) {
  const { t } = useTranslation();
  const { pathname } = useLocation();
  return (
    <Stack gap={2} component="nav" aria-label={t(title)}>
      <Text size="xs" fw={600} c="dimmed" px={12} pb={4}>
        {t(title)}
      </Text>
      {items.map(({ to, label, icon: Icon }) => (
        <NavLink
          key={to}
          className="nav-link"
          component={Link}
          to={to}
          label={t(label)}
          leftSection={<Icon size={18} stroke={1.7} />}
          active={isAt(pathname, to)}
          aria-current={isAt(pathname, to) ? 'page' : undefined}
          onClick={onGo}
          py={5}
        />
      ))}
    </Stack>
  );
}

function Account() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const client = useQueryClient();
  if (!user) {
    return (
      <Button component={Link} to="/console/sign-in" fullWidth>
        {t('nav.signIn')}
      </Button>
    );
  }
  const leave = async () => {
    await endPlayground();
    become(client, await del<Visitor>('/console/api/session'));
  };
  return (
    <Menu position="top-start" width={208}>
      <Menu.Target>
        <UnstyledButton aria-label={t('nav.account')} p={6} style={{ borderRadius: 8 }}>
          <Group gap="sm" wrap="nowrap">
            <Avatar size={30} radius="xl" color="relay" name={user.email} />
            <Box miw={0} flex={1}>
              <Text size="sm" fw={500} truncate>
                {user.client_name ?? t('settings.role.operator')}
              </Text>
              <Text size="xs" c="dimmed" truncate>
                {user.email}
              </Text>
            </Box>
            <IconSelector size={16} />
          </Group>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item component={Link} to="/console/settings" leftSection={<IconSettings size={16} />}>
          {t('nav.settings')}
        </Menu.Item>
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void leave()}>
          {t('nav.signOut')}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function Wallet() {
  const { t } = useTranslation();
  const balance = useGet<Balance>('/openapi/v1/balance', {}, { every: 5000 });
  if (balance.data === undefined) return null;
  return (
    <Button component={Link} to="/console/billing" variant="default" size="compact-md" fw={550} visibleFrom="sm" leftSection={<IconWallet size={16} stroke={1.7} />} aria-label={`${t('dash.available')}: ${usd(balance.data.available)}`} mr={4}>
      <Money value={balance.data.available} />
    </Button>
  );
}

export function Shell() {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const [opened, { toggle, close }] = useDisclosure(false);
  const mine = user === null ? workspace.filter((i) => i.to === '/console/models') : user.client_id ? workspace : workspace.filter((i) => i.to === '/console/models' || i.to === '/console/settings');
  return (
    <AppShell header={{ height: 56, collapsed: false }} navbar={{ width: 240, breakpoint: 'sm', collapsed: { mobile: !opened } }} padding={{ base: 'md', sm: 'xl' }} layout="alt">
      <a href="#content" className="skip">
        {t('nav.skip')}
      </a>
      <AppShell.Header className="shell-bar">
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group wrap="nowrap" gap="sm" miw={0}>
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t('nav.open')} />
            <Box hiddenFrom="sm">
              <Brand />
            </Box>
          </Group>
          <Group gap={4} wrap="nowrap">
            {user?.client_id ? <Wallet /> : null}
            <LanguageSwitch />
            <SchemeSwitch />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className="shell-bar" p="md">
        <Group justify="space-between" mb="lg" px={4} wrap="nowrap">
          <Brand />
          <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t('nav.open')} />
        </Group>
        <Stack gap="lg" flex={1} style={{ overflowY: 'auto' }}>
          <Section title="nav.workspace" items={mine} onGo={close} />
          <Section title="nav.help" items={help} onGo={close} />
          {user?.operator ? <Section title="nav.operator" items={operator} onGo={close} /> : null}
        </Stack>
        <Divider my="sm" color="var(--line)" />
        <Account />
      </AppShell.Navbar>
      <AppShell.Main className="shell-main" id="content" tabIndex={-1} style={{ outline: 'none' }}>
        <div className="page">
          <Suspense fallback={<Waiting />}>
            <Outlet />
          </Suspense>
        </div>
      </AppShell.Main>
    </AppShell>
  );
}
