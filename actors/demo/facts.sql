-- The demo's facts: small, checkable, and with their sources named.
-- A fact is a column of one of the three tables; `facts` has its unit and its meaning.

CREATE TABLE sources (
    table_name TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    url TEXT NOT NULL,
    note TEXT NOT NULL
);
INSERT INTO sources VALUES
('planets', 'NASA Planetary Fact Sheet',
 'https://nssdc.gsfc.nasa.gov/planetary/factsheet/',
 'metric sheet; gravity and temperature of the gas giants at the 1 bar level'),
('mountains', 'Wikipedia, "Eight-thousander" and "Seven Summits"',
 'https://en.wikipedia.org/wiki/Eight-thousander',
 'all 14 eight-thousanders and 8 well-known others; metres above sea level, rounded; surveys differ by a few metres'),
('elements', 'IUPAC abridged standard atomic weights (2021)',
 'https://ciaaw.org/abridged-atomic-weights.htm',
 'atomic weight to at most five digits; 36 of the 118 elements');

CREATE TABLE facts (
    table_name TEXT NOT NULL,
    fact TEXT NOT NULL,
    unit TEXT NOT NULL,
    meaning TEXT NOT NULL,
    PRIMARY KEY (table_name, fact)
);
INSERT INTO facts VALUES
('planets', 'mass', '10^24 kg', 'mass'),
('planets', 'diameter', 'km', 'diameter at the equator'),
('planets', 'density', 'kg/m3', 'mean density'),
('planets', 'gravity', 'm/s2', 'gravity at the surface'),
('planets', 'escape_velocity', 'km/s', 'speed needed to leave for good'),
('planets', 'day_length', 'hours', 'from noon to noon'),
('planets', 'distance_from_sun', '10^6 km', 'mean distance from the Sun'),
('planets', 'orbital_period', 'days', 'one turn around the Sun, in Earth days'),
('planets', 'orbital_velocity', 'km/s', 'mean speed along the orbit'),
('planets', 'mean_temperature', '°C', 'mean temperature'),
('mountains', 'height', 'm', 'above sea level'),
('mountains', 'first_ascent_year', '', 'year of the first confirmed ascent'),
('mountains', 'continent', '', 'continent, as the Seven Summits count'),
('elements', 'atomic_number', '', 'protons in the nucleus'),
('elements', 'atomic_weight', '', 'abridged standard atomic weight, relative to 1/12 of carbon-12'),
('elements', 'symbol', '', 'chemical symbol');

CREATE TABLE planets (
    name TEXT PRIMARY KEY,
    mass REAL, diameter REAL, density REAL, gravity REAL, escape_velocity REAL,
    day_length REAL, distance_from_sun REAL, orbital_period REAL, orbital_velocity REAL,
    mean_temperature REAL
);
INSERT INTO planets VALUES
('Mercury', 0.330, 4879, 5429, 3.7, 4.3, 4222.6, 57.9, 88.0, 47.4, 167),
('Venus', 4.87, 12104, 5243, 8.9, 10.4, 2802.0, 108.2, 224.7, 35.0, 464),
('Earth', 5.97, 12756, 5514, 9.8, 11.2, 24.0, 149.6, 365.2, 29.8, 15),
('Mars', 0.642, 6792, 3934, 3.7, 5.0, 24.7, 228.0, 687.0, 24.1, -65),
('Jupiter', 1898, 142984, 1326, 23.1, 59.5, 9.9, 778.5, 4331, 13.1, -110),
('Saturn', 568, 120536, 687, 9.0, 35.5, 10.7, 1432.0, 10747, 9.7, -140),
('Uranus', 86.8, 51118, 1270, 8.7, 21.3, 17.2, 2867.0, 30589, 6.8, -195),
('Neptune', 102, 49528, 1638, 11.0, 23.5, 16.1, 4515.0, 59800, 5.4, -200);

CREATE TABLE mountains (
    name TEXT PRIMARY KEY,
    height REAL,
    first_ascent_year INTEGER,
    continent TEXT
);
INSERT INTO mountains VALUES
('Everest', 8849, 1953, 'Asia'),
('K2', 8611, 1954, 'Asia'),
('Kangchenjunga', 8586, 1955, 'Asia'),
('Lhotse', 8516, 1956, 'Asia'),
('Makalu', 8485, 1955, 'Asia'),
('Cho Oyu', 8188, 1954, 'Asia'),
('Dhaulagiri', 8167, 1960, 'Asia'),
('Manaslu', 8163, 1956, 'Asia'),
('Nanga Parbat', 8126, 1953, 'Asia'),
('Annapurna', 8091, 1950, 'Asia'),
('Gasherbrum I', 8080, 1958, 'Asia'),
('Broad Peak', 8051, 1957, 'Asia'),
('Gasherbrum II', 8035, 1956, 'Asia'),
('Shishapangma', 8027, 1964, 'Asia'),
('Aconcagua', 6961, 1897, 'South America'),
('Denali', 6190, 1913, 'North America'),
('Kilimanjaro', 5895, 1889, 'Africa'),
('Elbrus', 5642, 1874, 'Europe'),
('Vinson', 4892, 1966, 'Antarctica'),
('Puncak Jaya', 4884, 1962, 'Oceania'),
('Mont Blanc', 4806, 1786, 'Europe'),
('Matterhorn', 4478, 1865, 'Europe');

CREATE TABLE elements (
    name TEXT PRIMARY KEY,
    atomic_number INTEGER,
    atomic_weight REAL,
    symbol TEXT
);
INSERT INTO elements VALUES
('hydrogen', 1, 1.008, 'H'),
('helium', 2, 4.0026, 'He'),
('lithium', 3, 6.94, 'Li'),
('beryllium', 4, 9.0122, 'Be'),
('boron', 5, 10.81, 'B'),
('carbon', 6, 12.011, 'C'),
('nitrogen', 7, 14.007, 'N'),
('oxygen', 8, 15.999, 'O'),
('fluorine', 9, 18.998, 'F'),
('neon', 10, 20.180, 'Ne'),
('sodium', 11, 22.990, 'Na'),
('magnesium', 12, 24.305, 'Mg'),
('aluminium', 13, 26.982, 'Al'),
('silicon', 14, 28.085, 'Si'),
('phosphorus', 15, 30.974, 'P'),
('sulfur', 16, 32.06, 'S'),
('chlorine', 17, 35.45, 'Cl'),
('argon', 18, 39.95, 'Ar'),
('potassium', 19, 39.098, 'K'),
('calcium', 20, 40.078, 'Ca'),
('titanium', 22, 47.867, 'Ti'),
('chromium', 24, 51.996, 'Cr'),
('iron', 26, 55.845, 'Fe'),
('nickel', 28, 58.693, 'Ni'),
('copper', 29, 63.546, 'Cu'),
('zinc', 30, 65.38, 'Zn'),
('bromine', 35, 79.904, 'Br'),
('silver', 47, 107.87, 'Ag'),
('tin', 50, 118.71, 'Sn'),
('iodine', 53, 126.90, 'I'),
('tungsten', 74, 183.84, 'W'),
('platinum', 78, 195.08, 'Pt'),
('gold', 79, 196.97, 'Au'),
('mercury', 80, 200.59, 'Hg'),
('lead', 82, 207.2, 'Pb'),
('uranium', 92, 238.03, 'U');
